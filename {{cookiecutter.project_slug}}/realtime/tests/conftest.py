"""Fixtures for streams and sockets."""

import pytest

from .sockets import opened


@pytest.fixture
def quick_tick(settings):
    """Let the repair tick come often; to be named before `hub`, which reads it first."""
    settings.REALTIME_TICK_SECONDS = 0.05


@pytest.fixture
def no_tick(settings):
    """Put off the repair tick, so that only hints can deliver; to be named before `hub`."""
    settings.REALTIME_TICK_SECONDS = 3600


@pytest.fixture
async def ada(hub, access_token):
    """Ada's open socket on `/ws/realtime/`."""
    async with opened(access_token) as client:
        yield client
