"""Fixtures for streams and sockets."""

import pytest


@pytest.fixture
def quick_tick(settings):
    """Let the repair tick come often; to be named before `hub`, which reads it first."""
    settings.REALTIME_TICK_SECONDS = 0.05


@pytest.fixture
def no_tick(settings):
    """Put off the repair tick, so that only hints can deliver; to be named before `hub`."""
    settings.REALTIME_TICK_SECONDS = 3600
