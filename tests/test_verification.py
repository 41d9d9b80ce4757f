"""What rendering leaves behind: an installed, checked and tested project.

Each combination with other code is rendered as a user does it; the hook installs and checks it and
runs its tests. nginx changes no code, as a test of the engine holds, so every other one has it. The
Pythons of this machine take turns.
"""

import json
import re
import stat
from subprocess import CompletedProcess

import pytest

from .template import FUNCTIONAL, environment, pythons, render, run, title

PYTHONS = list(pythons())
VERIFIED = [
    answers
    for answers in FUNCTIONAL
    if answers["use_nginx"] == ((answers["database"] == "sqlite") == answers["use_chat"])
]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            answers | {"python_version": PYTHONS[number % len(PYTHONS)]},
            id=title(answers | {"python_version": PYTHONS[number % len(PYTHONS)]}),
            marks=pytest.mark.xdist_group(f"verified {number}"),
        )
        for number, answers in enumerate(VERIFIED)
    ],
)
def rendered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> CompletedProcess:
    """The end of `cookiecutter . --no-input` with these answers, and the project."""
    done = render(tmp_path_factory.mktemp("out"), **request.param)
    assert done.returncode == 0, done.stdout
    done.answers = request.param
    return done


def test_every_python_of_this_machine_has_its_turn() -> None:
    """There are at least as many combinations as Pythons, and one Python at the least."""
    assert 1 <= len(PYTHONS) <= len(VERIFIED)


def test_each_step_is_one_line_with_its_time(rendered: CompletedProcess) -> None:
    """Seven lines say what was done and how long it took, ending with what to type next."""
    *steps, last = rendered.stdout.splitlines()
    assert [line.split()[0] for line in steps] == ["1", "2", "3", "4", "5", "6"]
    assert all(re.search(r" \d+\.\d s$", line) for line in steps)
    assert re.fullmatch(rf"7  ready: cd {rendered.project} && make run .*", last)


def test_the_suite_has_run_on_the_chosen_python(rendered: CompletedProcess) -> None:
    """The lines name the Python and the number of tests that passed."""
    assert f"on Python {rendered.answers['python_version']} " in rendered.stdout
    count = re.search(r"tests: (\d+) passed", rendered.stdout)
    assert int(count[1]) > 100


def test_nothing_of_the_verification_is_left(rendered: CompletedProcess) -> None:
    """Tests and checks ran elsewhere: no database, no caches."""
    left = {path.name for path in rendered.project.iterdir()}
    assert not {"db.sqlite3", "verify.sqlite3", ".postgres", ".pytest_cache", ".coverage"} & left


def test_the_project_is_usable_at_once(rendered: CompletedProcess) -> None:
    """Nothing is left to install, and the development settings are in place."""
    assert run(["make", "--question", "install"], cwd=rendered.project).returncode == 0
    check = [".venv/bin/python", "manage.py", "check", "--fail-level", "WARNING"]
    done = run(check, cwd=rendered.project, env=environment(rendered.project.parent))
    assert done.returncode == 0, done.stdout


def test_git_sees_no_secret(rendered: CompletedProcess) -> None:
    """`git add .` would take neither `.env` nor `api.http`, nor anything that was made locally."""
    env = environment(rendered.project.parent)
    run(["git", "add", "."], cwd=rendered.project, env=env).check_returncode()
    added = run(["git", "ls-files"], cwd=rendered.project, env=env).stdout.split("\n")
    assert ".env.example" in added
    assert not [name for name in added if re.match(r"\.env$|api\.http$|\.venv|.*sqlite3", name)]


def test_secrets_stay_out_of_the_replay_file(rendered: CompletedProcess) -> None:
    """No secret of `.env` was ever an answer, and only its owner may read it."""
    dotenv = rendered.project / ".env"
    assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
    secrets = re.findall(r"^\w*(?:KEY|PASSWORD)=(.+)$", dotenv.read_text(), re.MULTILINE)
    assert secrets
    replayed = [path.read_text() for path in rendered.project.parent.glob(".replay/*.json")]
    assert replayed
    assert json.loads(replayed[0])["cookiecutter"]["database"] == rendered.answers["database"]
    assert not [secret for secret in secrets if any(secret in text for text in replayed)]


def test_lint_and_types_are_clean(rendered: CompletedProcess) -> None:
    """`make lint typecheck` finds nothing, with the project's own tools."""
    done = run(["make", "lint", "typecheck"], cwd=rendered.project)
    assert done.returncode == 0, done.stdout
