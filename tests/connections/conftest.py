"""Runs the rendered project's own servers, as the tests of faults do."""

from ..faults.conftest import cluster, database, databases, project, pytest_pyfunc_call

__all__ = ["cluster", "database", "databases", "project", "pytest_pyfunc_call"]
