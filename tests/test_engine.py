"""The engine below every project, on every combination of answers that does something else.

The rendered project's own tests prove what its answers and its author's changes make of it. Those
in `engine/` prove what they stand on: forks and threads, faults of the database and of Redis,
private names of libraries, limits, races, and what the README says. Each rendered project gets them
beside its own tests, whose fixtures they use. The Pythons of this machine take turns.
"""

import re
import shutil
import tempfile
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


@pytest.mark.parametrize(
    ("answers", "version"),
    [
        pytest.param(
            answers,
            list(PYTHONS)[number % len(PYTHONS)],
            id=title(answers | {"python_version": list(PYTHONS)[number % len(PYTHONS)]}),
        )
        for number, answers in enumerate(FUNCTIONAL)
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
