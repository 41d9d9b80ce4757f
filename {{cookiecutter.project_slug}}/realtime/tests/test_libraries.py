"""Private names of libraries that still mean what this project relies on.

`make lock` may bring other versions than those that it was made with.
"""

import asyncio
from typing import Any

import hiredis
import msgpack
import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.asyncio import Redis
from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor

from realtime import bus
from realtime.bus import PUBLISH_ALL, send_batch
from realtime.server import WebSocketProtocol

from .sockets import PATIENCE


class Transport(tcp.Server):
    """A TCP transport whose socket takes as many bytes as it is told to."""

    def __init__(self, takes):
        FileDescriptor.__init__(self, reactor=object())  # type: ignore[arg-type]
        self.socket: Any = self
        self.takes, self.sent, self.connected = takes, b"", True

    def send(self, data):
        if not self.takes:
            raise BlockingIOError
        self.sent += data[: self.takes]
        return len(self.sent)

    def startWriting(self):  # noqa: N802
        """The poller would call back."""


@pytest.mark.parametrize(("takes", "buffered"), [(100, 0), (3, 3), (0, 6)])
def test_a_direct_write_sends_now_and_buffers_the_rest(takes, buffered):
    """Fields of Twisted and autobahn, for `write_frames`."""
    protocol = WebSocketProtocol()
    protocol.transport, protocol.state = Transport(takes), protocol.STATE_OPEN
    protocol._perMessageCompress, protocol.send_queue = None, []

    assert protocol.write_frames(b"frames")
    assert protocol.buffered_bytes() == buffered
    assert protocol.transport.sent == b"frames"[:takes]

    assert protocol.write_frames(b"more")
    assert protocol.buffered_bytes() == (buffered + 4 if buffered else 0)


class Published:
    """Records what a shard would send to Redis."""

    def __init__(self):
        self.sent = []

    async def publish(self, name, data):
        self.sent.append((name, data))

    async def eval(self, script, keys, *arguments):
        assert (script, keys) == (PUBLISH_ALL, 0)
        self.sent.extend(zip(arguments[::2], arguments[1::2], strict=True))


async def test_a_batch_sends_what_group_send_does():
    """Shards and names of channels_redis, for `send_batch`."""
    layer = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1/0", "redis://127.0.0.1:2/0"])
    hints = [{"group": f"group.{n}", "n": n} for n in range(64)]
    publics, privates = [Published(), Published()], [Published(), Published()]
    for shard, redis in zip(layer._get_layer()._shards, publics, strict=True):
        shard._redis = redis
    for hint in hints:
        await layer.group_send(hint["group"], hint)

    for shard, redis in zip(layer._get_layer()._shards, privates, strict=True):
        shard._redis = redis
    await send_batch(layer, hints)

    assert [redis.sent for redis in privates] == [redis.sent for redis in publics]
    assert all(redis.sent for redis in publics)
    for shard in layer._get_layer()._shards:
        shard._redis = None


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
        """Return one message, and later nothing more."""
        self.get_message = asyncio.Event().wait  # type: ignore[assignment]
        return {"channel": b"asgi__group__g", "data": msgpack.packb({"n": 0})}

    async def handle_message(self, reply: list[bytes]) -> None:
        """Take what is no message."""
        self.handled.append(reply)


async def test_all_messages_of_one_read_are_heard_at_once():
    """The receiver of channels_redis and the parser of redis-py, for `read_ahead`."""
    layer = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1/0"])
    heard: list[Any] = []
    bus.read_ahead(layer)
    local = layer._get_layer()
    bus.listen(layer, "c", heard.append)
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
