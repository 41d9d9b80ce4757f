"""Fixtures that several test modules share."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from . import logs
from .logs import pytest_configure, pytest_terminal_summary
from .template import CACHES, PROJECT, QUESTIONS, ROOT, python_with, pythons, render

__all__ = ["pytest_configure", "pytest_terminal_summary"]

# Projects of tests start hundreds of times: what Python compiles is kept, whatever the caller says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Every pytest of root closes its own folder to others when it starts, also to the PostgreSQL that a
# rendered project has running there as another user. So each run has a folder of its own.
TEMPORARY = None
if "PYTEST_DEBUG_TEMPROOT" not in os.environ:  # the processes of pytest-xdist inherit it
    TEMPORARY = tempfile.mkdtemp(prefix="cookiecutter-django-realtime-")
    os.environ["PYTEST_DEBUG_TEMPROOT"] = TEMPORARY


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A copy of the template, free to be changed, whose project has a single test."""
    template = tmp_path / "template"
    template.mkdir()
    shutil.copy(ROOT / "cookiecutter.json", template)
    shutil.copytree(ROOT / "hooks", template / "hooks")
    project = template / PROJECT.name
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("tests", *CACHES))
    write_test(template, "def test_nothing():\n    pass\n")
    return template


def write_test(template: Path, text: str) -> None:
    """Make `text` the only test module of the `small` template's project."""
    tests = template / PROJECT.name / "backend" / "tests"
    tests.mkdir(exist_ok=True)
    (tests / "__init__.py").touch()
    (tests / "test_one.py").write_text(text)


@pytest.fixture(scope="session")
def venv_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the locked requirements of the default project, kept for later runs."""
    project = render(tmp_path_factory.mktemp("lock"), verify_project=False).project
    return python_with(project / "requirements-dev.txt")


def pytest_report_header() -> str:
    """Say which Pythons the rendered projects are run on."""
    return (
        f"rendered projects run on Python {', '.join(pythons())} of {QUESTIONS['python_version']}"
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look for tokens in the logs; leave the folder only if something in it is worth a look."""
    logs.pytest_sessionfinish(session)
    if TEMPORARY and session.exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(TEMPORARY, ignore_errors=True)
