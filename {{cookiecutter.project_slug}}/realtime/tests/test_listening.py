"""Hearing what Redis publishes, through the insides of channels_redis and redis-py."""

import asyncio
from typing import Any

import hiredis
import msgpack
import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.asyncio import Redis

from realtime import listening

from .sockets import PATIENCE


class PubSub:
    """A subscription that gives one message itself, and leaves what came with it to hiredis."""

    def __init__(self, replies: list[list[bytes]]) -> None:
        # The connection of a real client, which never connects.
        self.connection: Any = Redis(host="127.0.0.1", port=1).connection_pool.make_connection()
        self.connection._parser._reader = hiredis.Reader()
        for reply in replies:
            parts = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in reply)
            self.connection._parser._reader.feed(b"*%d\r\n" % len(reply) + parts)
        self.subscribed = True
        self.handled: list[list[bytes]] = []

    async def get_message(self, **options: Any) -> dict[str, Any]:
        """Give one message, and later nothing more."""
        self.get_message = asyncio.Event().wait  # type: ignore[assignment]
        return {"channel": b"asgi__group__g", "data": msgpack.packb({"n": 0})}

    async def handle_message(self, reply: list[bytes]) -> None:
        """Take what is no message."""
        self.handled.append(reply)


@pytest.fixture
def layer():
    """A layer that does not connect."""
    return RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1/0"])


async def test_all_messages_of_one_read_are_heard_at_once(layer):
    """What hiredis has parsed already is not waited for; subscriptions are left to redis-py."""
    heard: list[Any] = []
    listening.read_ahead(layer)
    local = layer._get_layer()
    listening.listen(layer, "c", heard.append)
    local.groups["asgi__group__g"] = {"c"}
    messages = [[b"message", b"asgi__group__g", msgpack.packb({"n": n})] for n in (1, 2)]
    pubsub = PubSub([messages[0], [b"subscribe", b"x", b"1"], messages[1]])
    (shard,) = local._shards
    shard._pubsub = pubsub
    shard._ensure_receiver()

    async with asyncio.timeout(PATIENCE):
        while len(heard) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
    shard._receive_task.cancel()

    assert heard == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert pubsub.handled == [[b"subscribe", b"x", b"1"]]


async def test_a_message_that_cannot_be_read_is_survived(layer, caplog):
    """The next one is heard."""
    heard: list[Any] = []
    listening.listen(layer, "c", heard.append)
    queue = layer._get_layer().channels["c"]

    queue.put_nowait(b"\xc1")
    queue.put_nowait(msgpack.packb({"n": 1}))

    assert heard == [{"n": 1}]
    assert "could not be used" in caplog.text


async def test_a_connection_that_fails_is_tried_again(layer, monkeypatch):
    """Listening goes on whatever happens to Redis; nothing is subscribed at first."""
    monkeypatch.setattr(listening, "READ_TIMEOUT_SECONDS", 0.001)
    monkeypatch.setattr(listening, "RETRY_SECONDS", 0.001)
    listening.read_ahead(layer)
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
        while len(calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    shard._receive_task.cancel()
