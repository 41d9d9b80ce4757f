"""Telling every process of new events, from any thread, without ever waiting for Redis.

Hints go into a bounded queue that one thread of the process drains into the channel layer. A hint
that is lost costs nothing but time: the repair tick finds the event in the database.
"""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import InMemoryChannelLayer, channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer

logger = logging.getLogger(__name__)

# Hints that may wait; beyond that the oldest go, and the repair tick does their work.
QUEUE_SIZE = 20_000
# Hints in one pipeline: large enough to spread the round trip, small enough to start early.
BATCH_SIZE = 256
# Seconds that one batch may take, and that the exit of the process waits for the queue.
SEND_TIMEOUT_SECONDS = 2.0
DRAIN_SECONDS = 2.0

# Above so many hints a caller that is no event loop waits until there are so few, but no longer
# than so many seconds: one that is faster than Redis must not push out what it has sent itself.
HIGH_WATER = 2_000
LOW_WATER = 500
WAIT_SECONDS = 1.0

Hint = dict[str, Any]


def layer_is_local() -> bool:
    """Whether the configured channel layer lives in this process's memory."""
    return isinstance(channel_layers[DEFAULT_CHANNEL_LAYER], InMemoryChannelLayer)


class Publisher:
    """The process's one way to the channel layer."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)
        # Not atexit: that comes after concurrent.futures has ended its threads, without which no
        # host name can be looked up, and a command that ends at once could not connect.
        threading._register_atexit(self.close)  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Start anew, as a forked child must: threads and connections stay with the parent."""
        self._queue: deque[Hint] = deque(maxlen=QUEUE_SIZE)
        self._lock = threading.Lock()
        self._space = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._woken = False
        self._closing = False
        self._failing = False

    def publish(self, hints: Sequence[Hint]) -> None:
        """Hand hints over to whoever follows their streams; never raises, nor waits for a Redis
        that does not answer."""
        if layer_is_local():
            # That layer belongs to one event loop, so the hints go to that loop's hub itself.
            from .hub import Hub

            Hub.hand_over(hints)
            return
        self._queue.extend(hints)
        if not self._woken:
            self._wake_thread()
        if len(self._queue) > HIGH_WATER:
            self._wait_for_space()

    def close(self) -> None:
        """Send what waits, for at most `DRAIN_SECONDS`, and end the thread and its connections."""
        with self._lock:
            thread, self._closing = self._thread, True
        if thread is not None:
            self._wake_thread()
            thread.join(DRAIN_SECONDS)
        self.forget()

    def _wait_for_space(self) -> None:
        """Wait until the thread has caught up, while Redis answers."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._space.clear()
            if len(self._queue) > HIGH_WATER and not self._failing:
                self._space.wait(WAIT_SECONDS)

    def _wake_thread(self) -> None:
        with self._lock:
            self._woken = True
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._drain()),
                    name="realtime-publisher",
                    daemon=True,
                )
                self._thread.start()
            elif self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    async def _drain(self) -> None:
        with self._lock:
            self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        layer = channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)
        while True:
            # Lowered before the queue is read: what comes after that wakes the thread again.
            self._woken = False
            while self._queue:
                count = min(len(self._queue), BATCH_SIZE)
                await self._send(layer, [self._queue.popleft() for _ in range(count)])
                if len(self._queue) < LOW_WATER:
                    self._space.set()
            if self._closing:
                break
            await self._wake.wait()
            self._wake.clear()
        await layer.flush()

    async def _send(self, layer: Any, hints: Sequence[Hint]) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if isinstance(layer, RedisPubSubChannelLayer):
                    await send_in_pipeline(layer, hints)
                else:
                    for hint in hints:
                        await layer.group_send(hint["group"], hint)
            if self._failing:
                logger.warning("the channel layer takes hints again")
            self._failing = False
        except Exception as error:
            if not self._failing:
                logger.warning("hints wait for the repair tick: the channel layer fails: %r", error)
            self._failing = True
            # A half-open connection would fail again; the next batch opens a new one.
            await asyncio.wait([asyncio.ensure_future(layer.flush())], timeout=1)


async def send_in_pipeline(layer: RedisPubSubChannelLayer, hints: Sequence[Hint]) -> None:
    """Do what `group_send` does for each hint, with one round trip for all.

    `group_send` waits for Redis' answer to each message, under a lock. Here the layer's own shards
    publish in its own wire format, through private names that a test holds it to.
    """
    local = layer._get_layer()
    by_shard: dict[Any, list[tuple[str, bytes]]] = {}
    for hint in hints:
        name = local._get_group_channel_name(hint["group"])
        by_shard.setdefault(local._get_shard(name), []).append((name, layer.serialize(hint)))
    for shard, messages in by_shard.items():
        async with shard._lock:
            shard._ensure_redis()
            pipeline = shard._redis.pipeline(transaction=False)
            for name, data in messages:
                pipeline.publish(name, data)
            await pipeline.execute()


publisher = Publisher()
