"""Runs the rendered project's own servers, as the tests of faults do."""

import pytest

from ..faults.conftest import cluster, database, databases, pytest_pyfunc_call
from ..faults.project import Project

__all__ = ["cluster", "database", "databases", "project", "pytest_pyfunc_call"]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The rendered project, with all that clients can talk to."""
    return Project(tmp_path_factory.mktemp("project"), use_chat=True)
