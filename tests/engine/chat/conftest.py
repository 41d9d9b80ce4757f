"""Fixtures of the project's own tests."""

from realtime.tests.conftest import no_tick  # noqa: F401
from realtime.tests.engine.conftest import replica  # noqa: F401
