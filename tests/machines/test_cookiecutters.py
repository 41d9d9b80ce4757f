"""Other versions of Cookiecutter, and what its command line may hold."""

import fcntl
import json
from pathlib import Path

import pytest

from ..template import QUESTIONS, ROOT, TOOLS, environment, pythons, render, run

OLD = ["1.7.3", "2.1.1", "2.4.0", "2.6.0"]
KNOWN = [name for name in QUESTIONS if not name.startswith("_")]


def cookiecutter(version: str) -> Path:
    """Return the command of a released version, installed once for later runs."""
    venv = ROOT / ".cache" / f"cookiecutter-{version}"
    venv.parent.mkdir(exist_ok=True)
    with Path(f"{venv}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (venv / "complete").exists():
            oldest = list(pythons().values())[-1]
            run([TOOLS / "uv", "venv", "--clear", "--python", oldest, venv]).check_returncode()
            install = [TOOLS / "uv", "pip", "install", "--python", venv / "bin/python"]
            run([*install, f"cookiecutter=={version}", "setuptools"]).check_returncode()
            (venv / "complete").touch()
    return venv / "bin" / "cookiecutter"


def refusal(output: str) -> str:
    """Return the one line in which the hook refuses."""
    lines = [line for line in output.splitlines() if line.startswith("Refused: ")]
    assert len(lines) == 1, output
    before, _, after = output.partition(lines[0])
    assert "Traceback" not in before
    # What Cookiecutter adds is explained before it begins.
    assert after.startswith("\n(Whatever follows is Cookiecutter's own report of this refusal.)\n")
    return lines[0]


@pytest.mark.parametrize("version", OLD)
def test_an_old_cookiecutter_is_refused(version: str, tmp_path: Path) -> None:
    """One that takes `use_chat=false` for true, or lacks what the hook needs, says what to do."""
    command = [cookiecutter(version), ROOT, "--no-input", "--output-dir", tmp_path / "out"]
    (tmp_path / "out").mkdir()
    done = run([*command, "use_chat=false"], env=environment(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    line = refusal(done.stdout)
    assert line.startswith(f"Refused: this is Cookiecutter {version}; the template needs 2.7 or")
    assert "`pipx upgrade cookiecutter`" in line
    assert not list((tmp_path / "out").iterdir())


def test_the_oldest_cookiecutter_that_is_said_to_do_does(tmp_path: Path) -> None:
    """The first release that the refusal allows renders, and takes false for false."""
    command = [cookiecutter("2.7.0"), ROOT, "--no-input", "--output-dir", tmp_path / "out"]
    env = environment(tmp_path)
    done = run([*command, "use_chat=false", "verify_project=no"], env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "out/my-realtime-backend/chat").exists()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("use_nginxx", "use_nginx"), ("databse", "database"), ("frontend", None), ("Use_chat", None)],
)
def test_a_name_that_no_question_has_is_refused(
    typed: str, meant: str | None, tmp_path: Path
) -> None:
    """Cookiecutter would drop it without a word; the line names all that there are."""
    done = render(tmp_path, **{typed: "false"})
    assert done.returncode == 1
    line = refusal(done.stdout)
    assert line.startswith(f"Refused: {typed!r} is no question of this template: it has ")
    assert all(name in line for name in KNOWN)
    assert meant is None or line.endswith(f"Did you mean {meant}?")
    assert done.project is None


def test_values_may_hold_what_looks_like_a_name(tmp_path: Path) -> None:
    """Only what stands before the first = of an argument is a name."""
    done = render(tmp_path, verify_project=False, description="debug=on use_nginxx=1 {x=2}")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_chat", "false"),
        ("verify_project", 0),
        ("database", "oracle"),
        ("python_version", 3.13),
    ],
)
def test_a_replayed_answer_that_is_none_of_the_choices_is_refused(
    name: str, value: object, tmp_path: Path
) -> None:
    """Cookiecutter takes from a replay file whatever stands in it."""
    assert render(tmp_path / "first", verify_project=False).returncode == 0
    (replay,) = (tmp_path / "first" / ".replay").glob("*.json")
    answers = json.loads(replay.read_text())
    answers["cookiecutter"][name] = value
    replay.write_text(json.dumps(answers))
    command = [TOOLS / "cookiecutter", ROOT, "--replay-file", replay, "--output-dir", tmp_path]
    done = run(command, env=environment(tmp_path))
    assert done.returncode == 1
    assert refusal(done.stdout).startswith(f"Refused: {name} {value!a} must be one of ")
    assert not (tmp_path / "my-realtime-backend").exists()


def test_on_other_systems_only_a_near_miss_is_refused(tmp_path: Path) -> None:
    """Where `ps` alone tells the command line, blanks within values cannot be told from others."""
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text()
    answers = dict.fromkeys(KNOWN, "")
    functions = hook[: hook.rindex("main()")].replace(
        "{{cookiecutter | tojson | tojson}}", json.dumps(json.dumps(answers))
    )
    (tmp_path / "hook.py").write_text(
        f"{functions}\nimport sys\nrefuse_unknown_names(sys.argv[1:], certain=False)\n"
    )
    for words, refused in (
        (["cookiecutter", ".", "description=a", "b=c", "url=http://x"], False),
        (["cookiecutter", ".", "use_nginxx=false"], True),
        (["pytest", "use_nginxx=false"], False),
    ):
        done = run(["python3", tmp_path / "hook.py", *words])
        assert (done.returncode == 1) is refused, done.stdout
