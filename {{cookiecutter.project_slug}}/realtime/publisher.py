"""Telling every process of new events, from any thread, without ever waiting for Redis.

Hints go to the sockets of this process at once, and into a bounded queue for all others. One event
loop drains it into the channel layer: the one that serves the sockets, or that of a thread in a
process that serves none. A hint that is lost costs nothing but time: the repair tick finds the
event in the database.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import uuid4

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import InMemoryChannelLayer, channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer

logger = logging.getLogger(__name__)

# Hints that may wait; beyond that the oldest go, and the repair tick does their work.
QUEUE_SIZE = 20_000
# Hints in one batch: large enough to spread the round trip, small enough to start early.
BATCH_SIZE = 256
# Seconds that one batch may take, and that the exit of the process waits for the queue.
SEND_TIMEOUT_SECONDS = 2.0
DRAIN_SECONDS = 2.0

# Above so many hints a caller that is no event loop waits until there are so few, but no longer
# than so many seconds: one that is faster than Redis must not push out what it has sent itself.
HIGH_WATER = 2_000
LOW_WATER = 500
WAIT_SECONDS = 1.0

# One command and one answer for a batch: a pipeline packs, sends and parses one for every hint.
PUBLISH_ALL = """
for i = 1, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
"""

Hint = dict[str, Any]


def layer_is_local() -> bool:
    """Whether the configured channel layer lives in this process's memory."""
    return isinstance(channel_layers[DEFAULT_CHANNEL_LAYER], InMemoryChannelLayer)


@dataclass(eq=False)
class Drainer:
    """Who sends what is queued: an event loop of the program's, or that of a thread of ours."""

    loop: asyncio.AbstractEventLoop | None = None
    thread: threading.Thread | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Publisher:
    """The process's one way to the channel layer."""

    #: Gives hints to the sockets of this process; the hub sets it in those that can have any.
    hand_over: Callable[[Sequence[Hint]], None] | None = None

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):  # Windows does not fork.
            os.register_at_fork(after_in_child=self.forget)
        # Not atexit: that comes after concurrent.futures has ended its threads, without which no
        # host name can be looked up, and a command that ends at once could not connect.
        threading._register_atexit(self.close)  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Start anew, as a forked child must: threads and connections stay with the parent."""
        # Tells a process its own hints, which it has heard already, from those of others.
        self.origin = uuid4().hex
        self._queue: deque[Hint] = deque(maxlen=QUEUE_SIZE)
        self._lock = threading.Lock()
        self._space = threading.Event()
        self._drainer: Drainer | None = None
        self._woken = False
        self._closing = False
        self._failing = False

    def __len__(self) -> int:
        """Count the hints that wait."""
        return len(self._queue)

    def publish(self, hints: Sequence[Hint]) -> None:
        """Hand hints over to whoever follows their streams; never raises, nor waits for a Redis
        that does not answer."""
        if self.hand_over is not None:
            self.hand_over(hints)
        if layer_is_local():
            return
        self._queue.extend(hints)
        if not self._woken:
            self._wake_drainer()
        if len(self._queue) > HIGH_WATER:
            self._wait_for_space()

    async def drain(self) -> None:
        """Send what is queued from the running event loop, in place of whoever did so before.

        A thread would share the interpreter with the loop and fight for it. This ends when another
        loop takes over, or after `hand_back`.
        """
        drainer = Drainer(loop=asyncio.get_running_loop())
        with self._lock:
            before, self._drainer = self._drainer, drainer
            self._tell(before)
        await self._drain(drainer)

    def hand_back(self) -> None:
        """Let the running event loop end its `drain` once everything queued is sent."""
        with self._lock:
            drainer = self._drainer
            if drainer is not None and drainer.loop is asyncio.get_running_loop():
                self._drainer = None
                self._tell(drainer)

    def close(self) -> None:
        """Send what waits, for at most `DRAIN_SECONDS`, and end the thread and its connections."""
        with self._lock:
            self._closing = True
            if self._drainer is not None and self._drainer.thread is None:
                # The program's event loop has ended, or it would not be the end.
                self._drainer = None
        if self._queue or self._drainer is not None:
            thread = self._wake_drainer().thread
            if thread is not None and thread.is_alive():
                thread.join(DRAIN_SECONDS)
        self.forget()

    def _wait_for_space(self) -> None:
        """Wait until the queue is nearly empty, while Redis answers."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._space.clear()
            if len(self._queue) > HIGH_WATER and not self._failing:
                self._space.wait(WAIT_SECONDS)

    def _wake_drainer(self) -> Drainer:
        with self._lock:
            self._woken = True
            drainer = self._drainer
            if drainer is None or not self._tell(drainer):
                self._drainer = drainer = Drainer()
                drainer.thread = threading.Thread(
                    target=self._drain_here, args=[drainer], name="realtime-publisher", daemon=True
                )
                try:
                    drainer.thread.start()
                except RuntimeError as error:
                    # No more threads to be had; the next hint asks again.
                    self._report(error)
                    self._drainer, self._woken = None, False
            return drainer

    @staticmethod
    def _tell(drainer: Drainer | None) -> bool:
        """Let a drainer look at the queue; whether it is still there to do so."""
        try:
            # One without a loop has yet to start, and looks when it does.
            if drainer is not None and drainer.loop is not None:
                drainer.loop.call_soon_threadsafe(drainer.wake.set)
        except RuntimeError:
            return False
        return True

    def _drain_here(self, drainer: Drainer) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._drain(drainer))
        except Exception as error:
            # No loop to be had, say, since the process has no file descriptor left.
            self._report(error)
        finally:
            self._retire(drainer)

    def _retire(self, drainer: Drainer) -> None:
        """Let the next hint find another drainer, whatever has ended this one."""
        with self._lock:
            if self._drainer is drainer:
                self._drainer = None
            self._woken = False

    async def _drain(self, drainer: Drainer) -> None:
        layer: Any = None
        try:
            layer = channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)
            with self._lock:
                drainer.loop = asyncio.get_running_loop()
            while True:
                # Lowered before the queue is read: what comes after that wakes the drainer again.
                self._woken = False
                while hints := self._take():
                    await self._send(layer, hints)
                    if len(self._queue) < LOW_WATER:
                        self._space.set()
                if self._closing or self._drainer is not drainer:
                    break
                await drainer.wake.wait()
                drainer.wake.clear()
        finally:
            self._retire(drainer)
            if layer is not None:
                await layer.flush()

    def _take(self) -> list[Hint]:
        """Take a batch off the queue, of which another drainer may be taking at the same time."""
        hints: list[Hint] = []
        with contextlib.suppress(IndexError):
            while len(hints) < BATCH_SIZE:
                hints.append(self._queue.popleft())
        return hints

    async def _send(self, layer: Any, hints: Sequence[Hint]) -> None:
        hints = [{**hint, "origin": self.origin} for hint in hints]
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if isinstance(layer, RedisPubSubChannelLayer):
                    await send_batch(layer, hints)
                else:
                    for hint in hints:
                        await layer.group_send(hint["group"], hint)
            if self._failing:
                logger.warning("the channel layer takes hints again")
            self._failing = False
        except Exception as error:
            self._report(error)
            # A half-open connection would fail again; the next batch opens a new one.
            await asyncio.wait([asyncio.ensure_future(layer.flush())], timeout=1)

    def _report(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("hints wait for the repair tick: the channel layer fails: %r", error)
        self._failing = True


async def send_batch(layer: RedisPubSubChannelLayer, hints: Sequence[Hint]) -> None:
    """Do what `group_send` does for each hint, with one round trip for all.

    `group_send` waits for Redis' answer to each message, under a lock. Here the layer's own shards
    publish in its own wire format, through private names that a test holds it to.
    """
    local = layer._get_layer()
    by_shard: dict[Any, list[tuple[str, bytes]]] = {}
    for hint in hints:
        name = local._get_group_channel_name(hint["group"])
        by_shard.setdefault(local._get_shard(name), []).append((name, layer.serialize(hint)))
    await all_at_once(_publish_all(shard, messages) for shard, messages in by_shard.items())


async def all_at_once(calls: Iterable[Awaitable[None]]) -> None:
    """Make calls to the layer at once, so that a server that is away keeps no other one waiting.

    Raises:
        Exception: what the first of those that failed has raised, when all have ended.
    """
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _publish_all(shard: Any, messages: Sequence[tuple[str, bytes]]) -> None:
    async with shard._lock:
        shard._ensure_redis()
        await shard._redis.eval(PUBLISH_ALL, 0, *chain.from_iterable(messages))


publisher = Publisher()
