"""Starts the stack once for all of its tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..faults.project import Project
from .stack import Stack


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the stack on one process of pytest-xdist."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """nginx, Daphne, Gunicorn and Redis, running; a test that changes this mends it."""
    project = Project(tmp_path_factory.mktemp("out"))
    with Stack(project, tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(autouse=True)
def logs(stack: Stack) -> Iterator[None]:
    """Show the ends of the logs with a test that fails."""
    yield
    for process in stack.processes:
        print(f"--- {process.name}", process.tail(), sep="\n")
