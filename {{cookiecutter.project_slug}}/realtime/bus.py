"""The channel layer, both ways. It only says "look": what it loses, the database still knows.

`Publisher` tells every process of new events, from any thread, without ever waiting for Redis.
Messages go to the event loops of this process at once, and into a bounded queue for all others.
One event loop sends what is queued: the one that serves the sockets, or that of a thread in a
process that serves none.

`Receiver` hears what other processes publish, on one channel for an event loop, and notices when
the layer has gone deaf. A message that is lost either way costs nothing but time: the tick of the
hub finds in the database what it would have said.

channels_redis takes one message at a time, through tasks, locks and queues. What goes around that
stands at the end of this file, on private names; requirements.in bounds their versions, and a test
fails when they change.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, TypedDict, cast
from uuid import uuid4
from weakref import WeakSet

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import InMemoryChannelLayer, channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from redis.exceptions import NoPermissionError

logger = logging.getLogger(__name__)

# Messages that may wait; beyond that the oldest go, and the repair tick does their work.
QUEUE_SIZE = 20_000
# Messages in one batch: large enough to spread the round trip, small enough to start early.
BATCH_SIZE = 256
# Seconds that one batch may take, and that the exit of the process waits for the queue.
SEND_TIMEOUT_SECONDS = 2.0
DRAIN_SECONDS = 2.0

# Above so many messages a caller that is no event loop waits until there are so few, but no longer
# than so many seconds: one that is faster than Redis must not push out what it has sent itself.
HIGH_WATER = 2_000
LOW_WATER = 500
WAIT_SECONDS = 1.0

# Seconds that a call of a receiver may take before it counts as failed.
CALL_TIMEOUT_SECONDS = 2.0
# Probes that may stay unanswered before the connection to the layer is made anew.
MISSED_PROBES = 2
# Seconds that one read waits for a message, and that the loop waits after one that failed.
READ_TIMEOUT_SECONDS = 0.1
RETRY_SECONDS = 1.0

# One command and one answer for a batch: a pipeline packs, sends and parses one for every message.
PUBLISH_ALL = """
for i = 1, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
"""

# The group that every process listens to, for what concerns users and not streams.
EVERYONE = "realtime.control"


class Message(TypedDict):
    """What one process tells the others; `group` says whom it concerns."""

    group: str


class Hint(Message):
    """An event has been stored; `text` is its frame's."""

    type: Literal["realtime.hint"]
    epoch: str
    seq: int
    text: str


class Signal(Message):
    """An event that is not stored, for all followers but one user."""

    type: Literal["realtime.signal"]
    text: str
    exclude: int | None


class Recheck(Message):
    """Followers may have lost access to a stream."""

    type: Literal["realtime.recheck"]


class Look(Message):
    """Somebody has come to a stream, or gone."""

    type: Literal["realtime.look"]


class Revoke(Message):
    """The access tokens of a user before a version, or all of them, have ended."""

    type: Literal["realtime.revoke"]
    user: int
    version: int | None


class Probe(Message):
    """What a process sends to itself."""

    type: Literal["realtime.probe"]
    number: int


AnyMessage = Hint | Signal | Recheck | Look | Revoke
Hear = Callable[[Sequence[AnyMessage]], None]


def layer_is_local() -> bool:
    """Whether the configured channel layer lives in this process's memory."""
    return isinstance(channel_layers[DEFAULT_CHANNEL_LAYER], InMemoryChannelLayer)


@dataclass(eq=False)
class Sender:
    """Who sends what is queued: an event loop of the program's, or that of a thread of ours."""

    loop: asyncio.AbstractEventLoop | None = None
    thread: threading.Thread | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Publisher:
    """The process's one way to all event loops, its own and those of other processes."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):  # Windows does not fork.
            os.register_at_fork(after_in_child=self.forget)
        # Not atexit: that comes after concurrent.futures has ended its threads, without which no
        # host name can be looked up, and a command that ends at once could not connect.
        threading._register_atexit(self.close)  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Start anew, as a forked child must: threads and connections stay with the parent."""
        # Tells a process its own messages, which it has heard already, from those of others.
        self.origin = uuid4().hex
        self._local: dict[asyncio.AbstractEventLoop, Hear] = {}
        self._queue: deque[AnyMessage] = deque(maxlen=QUEUE_SIZE)
        self._lock = threading.Lock()
        self._space = threading.Event()
        self._sender: Sender | None = None
        self._woken = False
        self._closing = False
        self._failing = False

    def __len__(self) -> int:
        """Count the messages that wait."""
        return len(self._queue)

    def hand_to(self, hear: Hear) -> None:
        """Call `hear` on the running event loop with whatever this process publishes."""
        with self._lock:
            self._local[asyncio.get_running_loop()] = hear

    def hand_no_more(self) -> None:
        """Undo `hand_to` for the running event loop."""
        with self._lock:
            self._local.pop(asyncio.get_running_loop(), None)

    def publish(self, messages: Sequence[AnyMessage]) -> None:
        """Hand messages over to whoever they concern.

        Never raises, nor waits for a Redis that does not answer.
        """
        if self._local:
            self._hand_over(messages)
        if layer_is_local():
            return
        self._queue.extend(messages)
        if not self._woken:
            self._wake_sender()
        if len(self._queue) > HIGH_WATER:
            self._wait_for_space()

    async def send_from_here(self) -> None:
        """Send what is queued from the running event loop, in place of whoever did so before.

        A thread would share the interpreter with the loop and fight for it. This ends when another
        loop takes over, or after `hand_back`.
        """
        sender = Sender(loop=asyncio.get_running_loop())
        with self._lock:
            before, self._sender = self._sender, sender
            self._tell(before)
        await self._send_all(sender)

    def hand_back(self) -> None:
        """Let the running event loop end its `send_from_here` once everything queued is sent."""
        with self._lock:
            sender = self._sender
            if sender is not None and sender.loop is asyncio.get_running_loop():
                self._sender = None
                self._tell(sender)

    def close(self) -> None:
        """Send what waits, for at most `DRAIN_SECONDS`, and end the thread and its connections."""
        with self._lock:
            self._closing = True
            if self._sender is not None and self._sender.thread is None:
                # The program's event loop has ended, or it would not be the end.
                self._sender = None
        if self._queue or self._sender is not None:
            thread = self._wake_sender().thread
            if thread is not None and thread.is_alive():
                thread.join(DRAIN_SECONDS)
        self.forget()

    def _hand_over(self, messages: Sequence[AnyMessage]) -> None:
        with self._lock:
            local = list(self._local.items())
        here = asyncio._get_running_loop()
        for loop, hear in local:
            if loop is here:
                # Not before the caller is done with what it does, but without waking the poller.
                loop.call_soon(hear, messages)
                continue
            try:
                loop.call_soon_threadsafe(hear, messages)
            except RuntimeError:
                # It is closed: there is nobody left to tell.
                with self._lock:
                    self._local.pop(loop, None)

    def _wait_for_space(self) -> None:
        """Wait until the queue is nearly empty, while Redis answers."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._space.clear()
            if len(self._queue) > HIGH_WATER and not self._failing:
                self._space.wait(WAIT_SECONDS)

    def _wake_sender(self) -> Sender:
        with self._lock:
            self._woken = True
            sender = self._sender
            if sender is None or not self._tell(sender):
                self._sender = sender = Sender()
                sender.thread = threading.Thread(
                    target=self._send_here, args=[sender], name="realtime-publisher", daemon=True
                )
                try:
                    sender.thread.start()
                except RuntimeError as error:
                    # No more threads to be had; the next message asks again.
                    self._report(error)
                    self._sender, self._woken = None, False
            return sender

    @staticmethod
    def _tell(sender: Sender | None) -> bool:
        """Let a sender look at the queue; whether it is still there to do so."""
        try:
            # One without a loop has yet to start, and looks when it does.
            if sender is not None and sender.loop is not None:
                sender.loop.call_soon_threadsafe(sender.wake.set)
        except RuntimeError:
            return False
        return True

    def _send_here(self, sender: Sender) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._send_all(sender))
        except Exception as error:
            # No loop to be had, say, since the process has no file descriptor left.
            self._report(error)
        finally:
            self._retire(sender)

    def _retire(self, sender: Sender) -> None:
        """Let the next message find another sender, whatever has ended this one."""
        with self._lock:
            if self._sender is sender:
                self._sender = None
            self._woken = False

    async def _send_all(self, sender: Sender) -> None:
        layer: Any = None
        try:
            layer = channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)
            with self._lock:
                sender.loop = asyncio.get_running_loop()
            while True:
                # Lowered before the queue is read: what comes after that wakes the sender again.
                self._woken = False
                while messages := self._take():
                    await self._send(layer, messages)
                    if len(self._queue) < LOW_WATER:
                        self._space.set()
                if self._closing or self._sender is not sender:
                    break
                await sender.wake.wait()
                sender.wake.clear()
        finally:
            self._retire(sender)
            if layer is not None:
                await layer.flush()

    def _take(self) -> list[AnyMessage]:
        """Take a batch off the queue, of which another sender may be taking at the same time."""
        messages: list[AnyMessage] = []
        with contextlib.suppress(IndexError):
            while len(messages) < BATCH_SIZE:
                messages.append(self._queue.popleft())
        return messages

    async def _send(self, layer: Any, messages: Sequence[AnyMessage]) -> None:
        signed = [{**message, "origin": self.origin} for message in messages]
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if isinstance(layer, RedisPubSubChannelLayer):
                    await send_batch(layer, signed)
                else:
                    for message in signed:
                        await layer.group_send(message["group"], message)
            if self._failing:
                logger.warning("the channel layer takes messages again")
            self._failing = False
        except Exception as error:
            self._report(error)
            # A half-open connection would fail again; the next batch opens a new one.
            await asyncio.wait([asyncio.ensure_future(layer.flush())], timeout=1)

    def _report(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("messages wait for the repair tick: the channel layer fails: %r", error)
        self._failing = True


publisher = Publisher()


class Receiver:
    """What one event loop hears of other processes: the groups it has joined, on one channel."""

    def __init__(self, hear: Hear) -> None:
        """Take what is called with the messages, on the running event loop."""
        self._hear_messages = hear
        self._loop = asyncio.get_running_loop()
        self._layer: Any = None
        self._channel = ""
        self._joined: set[str] = set()
        self._receiving: asyncio.Task[None] | None = None
        self._probes_sent = self._probes_heard = 0
        self.failing = False

    def has_joined(self, group: str) -> bool:
        """Return whether messages to a group are heard."""
        return group in self._joined

    async def join(self, groups: Collection[str]) -> None:
        """Hear of groups from now on; what fails is reported once, and can be tried again."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                if self._receiving is None:
                    await self._connect()
                await all_at_once(self._join(group) for group in set(groups) - self._joined)
        except Exception as error:
            self._report(error)

    async def leave(self, groups: Collection[str]) -> None:
        """Hear of groups no more."""
        leaving = self._joined.intersection(groups)
        self._joined -= leaving
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await all_at_once(
                    self._layer.group_discard(group, self._channel) for group in leaving
                )
        except Exception as error:
            self._report(error)

    async def probe(self) -> None:
        """Send ourselves a message through the layer; two that do not come back say it is deaf."""
        if self._receiving is None:
            return
        if self._probes_sent - self._probes_heard >= MISSED_PROBES:
            self._report(TimeoutError("probes do not come back"))
            await self.close()
            return
        self._probes_sent += 1
        message: Probe = {
            "type": "realtime.probe",
            "group": self._channel,
            "number": self._probes_sent,
        }
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._layer.send(self._channel, message)
            if self.failing:
                logger.warning("the channel layer answers again")
            self.failing = False
        except Exception as error:
            self._report(error)

    async def close(self) -> None:
        """Let go of the connection to the layer; the next `join` makes a new one."""
        layer, receiving = self._layer, self._receiving
        self._layer = self._receiving = None
        self._joined.clear()
        self._probes_heard = self._probes_sent
        # Ending a receive talks to the layer as well, which may be what does not answer.
        if receiving is not None:
            receiving.cancel()
            await asyncio.wait([receiving], timeout=CALL_TIMEOUT_SECONDS)
        if layer is not None and hasattr(layer, "flush"):
            flushing = asyncio.ensure_future(layer.flush())
            await asyncio.wait([flushing], timeout=CALL_TIMEOUT_SECONDS)
            flushing.cancel()

    async def _connect(self) -> None:
        # A layer of our own: its connection can be replaced without harm to others, and serves
        # nothing but this one channel.
        if self._layer is None:
            self._layer = channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)
            if isinstance(self._layer, RedisPubSubChannelLayer):
                read_ahead(self._layer)
        self._channel = await self._layer.new_channel("realtime.")
        if isinstance(self._layer, RedisPubSubChannelLayer):
            listen(self._layer, self._channel, self._hear)
        self._receiving = self._loop.create_task(self._receive(self._layer, self._channel))

    async def _join(self, group: str) -> None:
        await self._layer.group_add(group, self._channel)
        self._joined.add(group)

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            try:
                # Cancelling this would delete the channel, so it only ends with the layer.
                self._hear(await layer.receive(channel))
            except Exception:
                logger.exception("a message of the channel layer could not be used")
                await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "realtime.probe":
            self._probes_heard = message["number"]
        elif message.get("origin") != publisher.origin:
            self._hear_messages([cast(AnyMessage, message)])

    def _report(self, error: Exception) -> None:
        if not self.failing:
            logger.warning(
                "the channel layer fails (%r): events arrive with the tick, every %s s",
                error,
                settings.REALTIME_TICK_SECONDS,
            )
        self.failing = True


async def all_at_once(calls: Iterable[Awaitable[None]]) -> None:
    """Make calls to the layer at once, so that a server that is away keeps no other one waiting.

    Raises:
        Exception: what the first of those that failed has raised, when all have ended.
    """
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


# On private names of channels_redis and redis-py

# Connections whose account may not run a script: for these, a pipeline has to do.
_without_scripts: WeakSet[Any] = WeakSet()


async def send_batch(layer: RedisPubSubChannelLayer, messages: Sequence[Mapping[str, Any]]) -> None:
    """Do what `group_send` does for each message, with one round trip for all.

    `group_send` waits for Redis' answer to each message, under a lock.
    """
    local = layer._get_layer()
    by_shard: dict[Any, list[tuple[str, bytes]]] = {}
    for message in messages:
        name = local._get_group_channel_name(message["group"])
        by_shard.setdefault(local._get_shard(name), []).append((name, layer.serialize(message)))
    await all_at_once(_publish_all(shard, batch) for shard, batch in by_shard.items())


async def _publish_all(shard: Any, batch: Sequence[tuple[str, bytes]]) -> None:
    async with shard._lock:
        shard._ensure_redis()
        if shard not in _without_scripts:
            try:
                await shard._redis.eval(PUBLISH_ALL, 0, *chain.from_iterable(batch))
                return
            except NoPermissionError:
                _without_scripts.add(shard)
        pipeline = shard._redis.pipeline(transaction=False)
        for name, data in batch:
            pipeline.publish(name, data)
        await pipeline.execute()


def listen(layer: RedisPubSubChannelLayer, channel: str, hear: Callable[[Any], None]) -> None:
    """Call `hear` with each message of a channel, the moment it is read; `receive` gets none.

    channels_redis takes each message through a task, a timeout, a queue and another task: 50 µs,
    of which the message itself needs 5.
    """
    layer._get_layer().channels[channel] = HandingOver(layer, hear)


class HandingOver(asyncio.Queue[bytes]):
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
            # The receiver reports it, once: its probes and joins fail as well.
            logger.debug("the connection to the channel layer failed", exc_info=True)
            await asyncio.sleep(RETRY_SECONDS)
