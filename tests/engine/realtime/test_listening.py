"""Hearing what Redis publishes, through the insides of channels_redis and redis-py."""

import asyncio
from typing import Any

import msgpack
import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from realtime import bus
from realtime.tests.sockets import PATIENCE


@pytest.fixture
def layer():
    """A layer that does not connect."""
    return RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1/0"])


async def test_a_message_that_cannot_be_read_is_survived(layer, caplog):
    """The next one is heard."""
    heard: list[Any] = []
    bus.listen(layer, "c", heard.append)
    queue = layer._get_layer().channels["c"]

    queue.put_nowait(b"\xc1")
    queue.put_nowait(msgpack.packb({"n": 1}))

    assert heard == [{"n": 1}]
    assert "could not be used" in caplog.text


async def test_a_connection_that_fails_is_tried_again(layer, monkeypatch):
    """Listening goes on whatever happens to Redis; nothing is subscribed at first."""
    monkeypatch.setattr(bus, "READ_TIMEOUT_SECONDS", 0.001)
    monkeypatch.setattr(bus, "RETRY_SECONDS", 0.001)
    bus.read_ahead(layer)
    (shard,) = layer._get_layer()._shards
    shard._ensure_receiver()
    await asyncio.sleep(0.01)
    calls = []

    class Broken:
        subscribed = True

        async def get_message(self, **options):
            calls.append(options)
            raise ConnectionError

    shard._pubsub = Broken()
    async with asyncio.timeout(PATIENCE):
        while len(calls) < 2:
            await asyncio.sleep(0.001)
    shard._receive_task.cancel()
