"""What scanners of code, of packages and of secrets say of the template and of what it renders."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from .template import FUNCTIONAL, PROJECT, ROOT, TOOLS, render, run, title

# What bandit warns of, and why that is no danger.
HARMLESS = {
    "B101": "assertions state what types cannot, and nothing relies on them for safety",
}
HARMLESS_IN_TOOLS = HARMLESS | {
    "B404": "hooks and scripts run other programs: that is their work",
    "B603": "and without a shell, with arguments of their own",
    "B607": "found on PATH, as the person who calls them would find them",
}
HARMLESS_IN_TESTS = HARMLESS_IN_TOOLS | {
    "B105": "passwords of users that a test has just made",
    "B106": "the same, as an argument",
    "B107": "the same, as a default",
    "B311": "random pauses and choices, not keys",
}
# What looks like a secret and is none.
KNOWN = {
    "ccb5820ac2d3af0dc0e3f69f4e5ebf86fce7d0b2": "the commit that is version 0.1.0",
    "analytical-engine|compiler-1952|difference-engine|a-guess": "users of the project's tests",
    "^true$": "usable_password, a field of Django's forms",
    "pass-word-9|correct-horse-battery": "users of the template's tests",
    "of-the-servers|of-the-sentinels": "servers of the template's tests",
    "only-the(se)?-tests-use-this-key": "processes of tests",
    "k3Yz-0f-a-production": "a test of the settings",
    "from-the-file": "a settings file of that test",
    "^(secret|other|short|p@ss|p%40ss)$": "tests of masking, settings and URLs",
    "eyJ1c2VyIjoiMSJ9": "a token that no server would take, for a test of the search for them",
    "correct horse battery staple|wrong donkey charger paperclip": "api.http, to be changed",
    "^password$": "user:password@host in explanations",
    "^postgres$": "the PostgreSQL of CI, which lives as long as the job",
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(answers, id=title(answers), marks=pytest.mark.xdist_group(title(answers)))
        for answers in FUNCTIONAL
    ],
)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered project of every functional combination."""
    done = render(tmp_path_factory.mktemp("out"), verify_project=False, **request.param)
    assert done.returncode == 0, done.stdout
    return done.project


def bandit(*paths: Path | str, harmless: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Let bandit look for dangerous code."""
    options = ["--quiet", "--recursive", "--skip", ",".join(harmless)]
    return run([TOOLS / "bandit", *options, *paths], cwd=ROOT)


def secrets(folder: Path, *names: str) -> list[str]:
    """Return the file and the line of everything that looks like a secret."""
    command: list[str | Path] = [TOOLS / "detect-secrets", "scan", "--all-files"]
    for pattern in KNOWN:
        command += ["--exclude-secrets", pattern]
    done = subprocess.run(
        [*command, *names], cwd=folder, capture_output=True, text=True, check=True
    )
    return [
        f"{name}:{finding['line_number']}: {finding['type']}"
        for name, findings in json.loads(done.stdout)["results"].items()
        for finding in findings
    ]


def committed(folder: Path) -> list[str]:
    """Return the files that git has or would take."""
    options = ["--cached", "--others", "--exclude-standard", "--deduplicate"]
    names = run(["git", "ls-files", *options], cwd=folder).stdout.splitlines()
    return [name for name in names if (folder / name).is_file()]


def test_the_projects_code_is_safe(project: Path) -> None:
    """Bandit finds nothing but what is explained; the tests in it serve nobody."""
    exclude = f"{project}/*/tests/*,{project}/conftest.py,{project}/backend/settings_test.py"
    done = bandit(project, "--exclude", exclude, harmless=HARMLESS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("folder", "harmless"),
    [
        ("hooks", HARMLESS_IN_TOOLS),
        ("scripts", HARMLESS_IN_TOOLS),
        ("benchmarks", HARMLESS_IN_TOOLS),
        ("tests", HARMLESS_IN_TESTS),
    ],
)
def test_the_templates_code_is_safe(folder: str, harmless: dict[str, str]) -> None:
    """Bandit finds nothing but what is explained, in what is committed."""
    code = [
        name for name in committed(ROOT) if name.startswith(f"{folder}/") and name[-3:] == ".py"
    ]
    done = bandit(*code, harmless=harmless)
    assert done.returncode == 0, done.stdout


def test_dangerous_code_is_found(tmp_path: Path) -> None:
    """Bandit does not just agree to everything."""
    (tmp_path / "danger.py").write_text("import pickle\npickle.loads(input().encode())\n")
    done = bandit(tmp_path, harmless=HARMLESS_IN_TESTS)
    assert done.returncode == 1
    assert "B301" in done.stdout


def test_the_project_has_no_secret(project: Path) -> None:
    """What is committed holds none; those of .env are found as such, and git ignores the file."""
    assert secrets(project, *committed(project)) == []
    assert secrets(project, ".env")
    assert run(["git", "check-ignore", ".env"], cwd=project).stdout == ".env\n"


def test_the_template_has_no_secret() -> None:
    """Neither has the template itself."""
    assert secrets(ROOT, *committed(ROOT)) == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql", None])
def test_no_package_has_a_known_vulnerability(tmp_path: Path, database: str | None) -> None:
    """What the project and the template lock is in no advisory, as `make audit` finds out."""
    lock = ROOT / "requirements.txt"
    if database:
        answers = {"database": database, "verify_project": False}
        lock = render(tmp_path, **answers).project / "requirements-dev.txt"
    command = [TOOLS / "pip-audit", "--disable-pip", "--require-hashes", "--format", "json"]
    done = subprocess.run(
        [*command, "--progress-spinner", "off", "-r", lock], capture_output=True, text=True
    )
    packages = json.loads(done.stdout)["dependencies"] if done.stdout else []
    if not any("vulns" in package for package in packages):
        pytest.skip("the database of advisories, PyPI's JSON API, cannot be reached from here")
    assert done.returncode == 0, done.stdout
    assert not [package for package in packages if "vulns" not in package]


def test_the_project_audits_with_what_is_tried_here() -> None:
    """`make audit` takes the version of pip-audit that this repository locks."""
    locked = re.search(r"^pip-audit==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    asked = re.search(r"tool run .*pip-audit@(\S+)", (PROJECT / "Makefile").read_text())
    assert asked[1] == locked[1]
