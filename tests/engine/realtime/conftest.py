"""Fixtures for a channel layer that fails, beside those of the project's own tests."""

import pytest
from realtime.bus import publisher
from realtime.tests.test_hub import stream, unpublished, write  # noqa: F401
from realtime.tests.test_streams import published  # noqa: F401

from .layers import UnreliableLayer
from .replica import Replica


@pytest.fixture
def unreliable_layer(settings):
    """A channel layer that can be told to lose messages or to fail."""
    UnreliableLayer.forget()
    path = f"{UnreliableLayer.__module__}.{UnreliableLayer.__name__}"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": path}}
    settings.REALTIME_TICK_SECONDS = 0.05
    # Its thread keeps the layer with which it began.
    publisher.close()
    yield UnreliableLayer
    publisher.close()


@pytest.fixture
def replica(settings):
    """The names of the models that are read from a replica."""
    Replica.reads.clear()
    settings.DATABASE_ROUTERS = [f"{Replica.__module__}.{Replica.__name__}"]
    return Replica.reads
