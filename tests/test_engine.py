"""The engine below every project, on every combination of answers that has other code.

The rendered project's own tests prove what its answers and its author's changes make of it. Those
in `engine/` prove what they stand on: forks and threads, faults of the database and of Redis,
private names of libraries, limits, races, and what the README says. Each rendered project gets them
beside its own tests, whose fixtures they use. The Pythons of this machine take turns.
"""

import hashlib
import re
import shutil
import tempfile
from itertools import cycle
from pathlib import Path

import pytest

from . import template
from .template import FUNCTIONAL, ROOT, environment, python_with, pythons, render, run, title

ENGINE = ROOT / "tests" / "engine"
APPS = [path.name for path in sorted(ENGINE.iterdir()) if path.is_dir() and path.name[0] != "_"]
# What is only for projects with this answer; an app that is not there is left out anyway.
NEEDED = {
    "backend/test_postgres.py": ("database", "postgresql"),
    "realtime/test_locks.py": ("database", "postgresql"),
}
PYTHONS = pythons()
# nginx stands before the project, and changes nothing in it.
DIFFERENT = [answers for answers in FUNCTIONAL if answers["use_nginx"]]


def add_engine(project: Path, answers: dict) -> list[str]:
    """Copy the engine's tests into a project, and return the folders in which they stand."""
    folders = []
    for app in APPS:
        if not (project / app).is_dir():
            continue
        folder = project / app / "tests" / "engine"
        left_out = [
            Path(name).name
            for name, (question, answer) in NEEDED.items()
            if Path(name).parts[0] == app and answers[question] != answer
        ]
        shutil.copytree(
            ENGINE / app, folder, ignore=shutil.ignore_patterns("__pycache__", *left_out)
        )
        (folder / "__init__.py").touch()
        folders.append(str(folder.relative_to(project)))
    return folders


def code_of(project: Path) -> str:
    """Return a digest of what a project's tests run: its Python and the libraries below it."""
    digest = hashlib.sha256()
    for path in sorted([*project.rglob("*.py"), *project.glob("*.t*"), *project.glob("*.yaml")]):
        digest.update(path.relative_to(project).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def test_answers_without_code_are_left_out(tmp_path: Path) -> None:
    """Of combinations that differ in nothing that runs here, the first stands for the others."""
    digests = {
        title(answers): code_of(
            render(tmp_path / title(answers), verify_project=False, **answers).project
        )
        for answers in FUNCTIONAL
    }
    assert {digests[title(answers)] for answers in DIFFERENT} == set(digests.values())


@pytest.mark.parametrize(
    ("answers", "version"),
    [
        pytest.param(answers, version, id=title(answers | {"python_version": version}))
        for answers, version in zip(DIFFERENT, cycle(PYTHONS), strict=False)
    ],
)
def test_the_engine(
    answers: dict, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its tests pass; with the project's own they reach nearly every line and branch."""
    project = render(tmp_path, verify_project=False, **answers).project
    # Of all Pythons `python_with` takes the newest.
    monkeypatch.setattr(template, "pythons", lambda: {version: PYTHONS[version]})
    python = python_with(project / "requirements-dev.txt")
    options = add_engine(project, answers)
    if answers == FUNCTIONAL[0]:
        options = ["--cov", "--cov-fail-under=95"]

    # A pytest of root closes its folder to others when it starts, also to the PostgreSQL that
    # another one has running there as another user: each has a folder of its own.
    with tempfile.TemporaryDirectory(prefix="engine-") as temporary:
        env = environment(tmp_path, TMPDIR=temporary)
        done = run([python, "-m", "pytest", "-q", *options], cwd=project, env=env)

    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d{3,} passed", done.stdout, re.MULTILINE), done.stdout
