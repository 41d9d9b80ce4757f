"""Hearing what Redis publishes as soon as it has been read.

channels_redis takes each message through a task, a timeout, a queue and another task: 50 µs, of
which the message itself needs 5. Here a process's one channel hands its messages over at once, and
all that one read of the connection has brought. This relies on private names of channels_redis and
redis-py; requirements.in bounds their versions, and a test fails when they change.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer

logger = logging.getLogger(__name__)

# Seconds that one read waits for a message, and that the loop waits after one that failed.
READ_TIMEOUT_SECONDS = 0.1
RETRY_SECONDS = 1.0


class Ear(asyncio.Queue[bytes]):
    """Stands in for the queue of a channel, and keeps nothing."""

    def __init__(self, layer: RedisPubSubChannelLayer, hear: Callable[[Any], None]) -> None:
        super().__init__()
        self._layer = layer
        self._hear = hear

    def put_nowait(self, data: bytes) -> None:
        """Hand one message over."""
        try:
            self._hear(self._layer.deserialize(data))
        except Exception:
            logger.exception("a message of the channel layer could not be used")


def read_ahead(layer: RedisPubSubChannelLayer) -> None:
    """Let a layer that is new take all messages of one read at once."""
    for shard in layer._get_layer()._shards:
        shard._do_receiving = lambda shard=shard: _receive_all(shard)


def listen(layer: RedisPubSubChannelLayer, channel: str, hear: Callable[[Any], None]) -> None:
    """Call `hear` with each message of a channel, the moment it is read; `receive` gets none."""
    layer._get_layer().channels[channel] = Ear(layer, hear)


async def _receive_all(shard: Any) -> None:
    """Do what channels_redis' `_do_receiving` does, for as many messages as have arrived."""
    while True:
        try:
            pubsub = shard._pubsub
            if pubsub is None or not pubsub.subscribed:
                await asyncio.sleep(READ_TIMEOUT_SECONDS)
                continue
            shard._receive_message(
                await pubsub.get_message(
                    ignore_subscribe_messages=True, timeout=READ_TIMEOUT_SECONDS
                )
            )
            # hiredis holds whatever came with it.
            connection = pubsub.connection
            while connection and isinstance(reply := connection._parser._reader.gets(), list):
                if reply[0] == b"message":
                    shard._receive_message({"channel": reply[1], "data": reply[2]})
                else:
                    await pubsub.handle_message(reply)
        except Exception:
            # The hub reports it, once: its probes and joins fail as well.
            logger.debug("the connection to the channel layer failed", exc_info=True)
            await asyncio.sleep(RETRY_SECONDS)
