"""One hub per process: it hears of new events once and delivers them to every local socket.

The hard part of `realtime` stands here, in `Feed`. A feed is a stream that sockets of this process
follow. It knows the last event that it delivered, so a hint is one of three: old (dropped), the
next one (delivered as it is), or further ahead (what is missing is read from the database, once
for all sockets). Nothing else decides what a client sees, so neither a lost hint, nor one that
comes twice or late, nor a channel layer that is down makes a gap or a duplicate.

Everything here runs on the event loop; between two `await`s nothing else does. That is what makes
"take the tail and join the live sockets" and "check `last` and deliver" safe without a lock.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Protocol

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from django.contrib.auth import get_user_model

from . import listening, streams
from .close_codes import CloseCode
from .connections import Connections
from .database import in_database
from .frames import Frame, encode
from .models import Stream
from .publisher import SEND_TIMEOUT_SECONDS, Hint, all_at_once, layer_is_local, publisher
from .streams import Position

logger = logging.getLogger(__name__)

# The group that every process listens to; its hints concern connections, not streams.
CONTROL_GROUP = "realtime.control"
# One read of a replay or of missing events ends at either of these.
PAGE_SIZE = 200
PAGE_BYTES = 256 * 1024
# What one write to the sockets of a feed holds at most, but for its last frame.
FLUSH_BYTES = 64 * 1024
# Seconds that a read of missing events waits for its slowest socket before it goes on.
PACE_SECONDS = 1.0
# Seconds until a read that failed is tried again.
READ_RETRY_SECONDS = 1.0
# What a feed keeps of its latest frames for sockets that join.
TAIL_FRAMES = 256
TAIL_BYTES = 256 * 1024
# Seconds that a call to the channel layer may take before it counts as failed.
LAYER_TIMEOUT_SECONDS = 2.0
# Probes that may stay unanswered before the connection to the layer is made anew.
MISSED_PROBES = 2


class Socket(Protocol):
    """What the hub needs of a connection."""

    user_id: int
    token_version: int

    def write(self, frames: Sequence[Frame], wire: bytes) -> None:
        """Send frames now or queue them; `wire` holds the same frames, joined and encoded."""

    def end(self, code: CloseCode) -> None:
        """Close the connection soon, with a close code."""

    async def drained(self) -> None:
        """Wait until at most half of what the client may leave unread is buffered."""


class Hub:
    """The sockets of one event loop, the streams they follow, and the channel layer's messages."""

    _instances: dict[asyncio.AbstractEventLoop, "Hub"] = {}
    _instances_lock = threading.Lock()

    @classmethod
    def current(cls) -> "Hub":
        """Give the running event loop's hub; the first call makes it."""
        loop = asyncio.get_running_loop()
        with cls._instances_lock:
            for other in [other for other in cls._instances if other.is_closed()]:
                del cls._instances[other]
            if loop not in cls._instances:
                cls._instances[loop] = cls(loop)
            return cls._instances[loop]

    @classmethod
    def hand_over(cls, hints: Sequence[Hint]) -> None:
        """Give hints to the hubs of this process directly, from any thread."""
        with cls._instances_lock:
            hubs = list(cls._instances.values())
        here = asyncio._get_running_loop()
        for hub in hubs:
            if hub.loop is here:
                # Not before the caller is done with what it does, but without waking the poller.
                here.call_soon(hub.hear_all, hints)
                continue
            # The loop may close in between; then there is nobody left to tell.
            with contextlib.suppress(RuntimeError):
                hub.loop.call_soon_threadsafe(hub.hear_all, hints)

    @classmethod
    def forget(cls) -> None:
        """Start anew in a forked child, whose parent's event loops do not run."""
        cls._instances = {}
        cls._instances_lock = threading.Lock()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.feeds: dict[str, Feed] = {}
        self.sockets: set[Socket] = set()
        self.connections = Connections(loop)
        self.layer: Any = None
        self.channel = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._receiver: asyncio.Task[None] | None = None
        self._unsent: list[Feed] = []
        self._unchecked: set[Feed] = set()
        self._new_feed = asyncio.Event()
        self._control_joined = False
        self._probes_sent = self._probes_heard = 0
        self._layer_failing = False
        self._closing = False
        self.spawn(self._care())
        self._publishing: asyncio.Task[None] | None = None
        if not layer_is_local():
            self._publishing = loop.create_task(publisher.drain())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the background and keep it alive until it is done."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End every task, the rows of the sockets and the connection to the channel layer."""
        with self._instances_lock:
            self._instances.pop(self.loop, None)
        # Said as well, since channels_redis can swallow a cancellation while it connects.
        self._closing = True
        await self.connections.close()
        tasks = [task for task in (*self._tasks, self._receiver) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop_layer()
        if self._publishing is not None:
            publisher.hand_back()
            await asyncio.wait([self._publishing], timeout=SEND_TIMEOUT_SECONDS)
            self._publishing.cancel()

    # Sockets

    def follow(self, socket: Socket, stream: Stream) -> "Subscription":
        """Let a socket follow a stream whose row has just been read.

        The subscription sends nothing until its `start`.
        """
        feed = self.feeds.get(stream.group)
        if feed is None:
            feed = self.feeds[stream.group] = Feed(self, stream)
            self._unchecked.add(feed)
            self._new_feed.set()
        elif feed.epoch != str(stream.epoch):
            feed.doubt()
        else:
            feed.want(stream.head)
        feed.followers.add(socket)
        return Subscription(socket, feed, stream)

    def close_sockets(self, user_id: int, version: int | None) -> None:
        """Close the local sockets of a user whose access tokens before `version`, or all, ended."""
        for socket in list(self.sockets):
            if socket.user_id == user_id and (version is None or socket.token_version < version):
                socket.end(CloseCode.NOT_AUTHENTICATED)

    # Hints

    def hear_all(self, hints: Sequence[Hint]) -> None:
        """Take hints in the order in which they were published."""
        for hint in hints:
            self.hear(hint)

    def hear(self, message: Hint) -> None:
        """Take one message of the channel layer."""
        match message["type"]:
            case "realtime.hint":
                feed = self.feeds.get(message["group"])
                if feed is not None:
                    feed.hear(message)
            case "realtime.recheck":
                feed = self.feeds.get(message["group"])
                if feed is not None:
                    feed.recheck()
            case "realtime.revoke":
                self.close_sockets(message["user"], message.get("version"))
            case "realtime.probe":
                self._probes_heard = message["number"]

    def hear_others(self, message: Hint) -> None:
        """Take one message of the channel layer, unless this process has heard it already."""
        if message.get("origin") != publisher.origin:
            self.hear(message)

    def flush_soon(self, feed: "Feed") -> None:
        """Let a feed send its frames at the end of this turn of the loop, together with others."""
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent.append(feed)

    def _flush(self) -> None:
        feeds, self._unsent = self._unsent, []
        for feed in feeds:
            feed.flush()

    # The caretaker: it joins groups, and repairs whatever the channel layer lost

    async def _care(self) -> None:
        next_tick = self.loop.time() + settings.REALTIME_TICK_SECONDS
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_tick):
                    await self._new_feed.wait()
            self._new_feed.clear()
            try:
                if self.loop.time() < next_tick:
                    await self._check_new()
                else:
                    next_tick = self.loop.time() + settings.REALTIME_TICK_SECONDS
                    await self._tick()
            except Exception as error:
                # Whatever failed (a database that restarts, say), the next tick tries again.
                logger.warning("the realtime tick failed, the next one tries again: %r", error)

    async def _check_new(self) -> None:
        # A new feed starts from a row that was read before its group was joined. What was written
        # or withdrawn in between had no hint for us, so it is read again, for all feeds at once.
        feeds, self._unchecked = self._unchecked, set()
        was_joined = self._control_joined
        if not self._layer_failing:
            await self._join(feeds)
        if self._control_joined and not was_joined:
            await self._check_users()
        await self._check_followers(feeds)
        await self._compare(feeds)

    async def _tick(self) -> None:
        self._unchecked.clear()
        self.connections.refresh()
        idle = [feed for feed in self.feeds.values() if not feed.followers]
        for feed in idle:
            del self.feeds[feed.stream.group]
        if not layer_is_local():
            await self._leave(idle)
            await self._probe()
            await self._join(self.feeds.values())
        await self._compare(self.feeds.values())
        await self._check_users()
        await self._check_followers(self.feeds.values())

    async def _compare(self, feeds: Collection["Feed"]) -> None:
        """Compare each feed with its stream's row, and let it read what it has missed."""
        before = [(feed, feed.epoch, feed.last) for feed in feeds]
        if not before:
            return
        found = await in_database(streams.positions, [feed.stream for feed, _, _ in before])
        for feed, epoch, last in before:
            position = found.get(feed.stream.group)
            if feed.epoch != epoch:
                continue  # It has been set right in the meantime.
            if position is None:
                feed.vanish()
            elif position.epoch != epoch or position.head < last:
                feed.doubt()
            else:
                feed.want(position.head)

    async def _check_users(self) -> None:
        """Close the sockets of users whose access has ended, had the layer not said so."""
        users = {socket.user_id for socket in self.sockets}
        versions = await in_database(_token_versions, users) if users else {}
        for socket in list(self.sockets):
            if socket.user_id in users and versions.get(socket.user_id) != socket.token_version:
                socket.end(CloseCode.NOT_AUTHENTICATED)

    async def _check_followers(self, feeds: Collection["Feed"]) -> None:
        """Close the sockets of users who may not follow their stream, had the layer not said so."""
        by_model: dict[type[Stream], set[tuple[Any, int]]] = {}
        for feed in feeds:
            by_model.setdefault(type(feed.stream), set()).update(feed.pairs())
        for model, pairs in by_model.items():
            outsiders = await in_database(model.outsiders, pairs) if pairs else ()
            for feed in list(feeds) if outsiders else ():
                if type(feed.stream) is model:
                    feed.dismiss(outsiders)

    # The channel layer

    async def _join(self, feeds: Collection["Feed"]) -> None:
        """Make sure that this process hears of the feeds; what fails is left to the next tick."""
        if layer_is_local():
            return
        try:
            async with asyncio.timeout(LAYER_TIMEOUT_SECONDS):
                if self.layer is None:
                    # A layer of the hub's own: its connection can be replaced without harm to
                    # others, and serves nothing but this one channel.
                    self.layer = channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)
                    if isinstance(self.layer, RedisPubSubChannelLayer):
                        listening.read_ahead(self.layer)
                if self._receiver is None:
                    self.channel = await self.layer.new_channel("realtime.")
                    if isinstance(self.layer, RedisPubSubChannelLayer):
                        listening.listen(self.layer, self.channel, self.hear_others)
                    self._receiver = self.loop.create_task(self._receive(self.layer, self.channel))
                if not self._control_joined:
                    await self.layer.group_add(CONTROL_GROUP, self.channel)
                    self._control_joined = True
                await all_at_once(self._add(feed) for feed in feeds if not feed.joined)
        except Exception as error:
            self._report_layer(error)

    async def _add(self, feed: "Feed") -> None:
        await self.layer.group_add(feed.stream.group, self.channel)
        feed.joined = True

    async def _leave(self, feeds: Collection["Feed"]) -> None:
        try:
            async with asyncio.timeout(LAYER_TIMEOUT_SECONDS):
                await all_at_once(
                    self.layer.group_discard(feed.stream.group, self.channel)
                    for feed in feeds
                    if feed.joined
                )
        except Exception as error:
            self._report_layer(error)

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            try:
                # Cancelling this would delete the channel, so it only ends with the layer.
                self.hear_others(await layer.receive(channel))
            except Exception:
                logger.exception("a message of the channel layer could not be used")
                await asyncio.sleep(READ_RETRY_SECONDS)

    async def _probe(self) -> None:
        """Send ourselves a message through the layer; two that do not come back say it is deaf."""
        if self._receiver is None:
            return
        if self._probes_sent - self._probes_heard >= MISSED_PROBES:
            self._report_layer(TimeoutError("probes do not come back"))
            await self._drop_layer()
            return
        self._probes_sent += 1
        try:
            async with asyncio.timeout(LAYER_TIMEOUT_SECONDS):
                await self.layer.send(
                    self.channel, {"type": "realtime.probe", "number": self._probes_sent}
                )
            if self._layer_failing:
                logger.warning("the channel layer answers again")
            self._layer_failing = False
        except Exception as error:
            self._report_layer(error)

    async def _drop_layer(self) -> None:
        """Let go of the connection to the layer; the next join makes a new one."""
        layer, receiver = self.layer, self._receiver
        self.layer = self._receiver = None
        self._control_joined = False
        self._probes_heard = self._probes_sent
        for feed in self.feeds.values():
            feed.joined = False
        # Ending a receive talks to the layer as well, which may be what does not answer.
        if receiver is not None:
            receiver.cancel()
            await asyncio.wait([receiver], timeout=LAYER_TIMEOUT_SECONDS)
        if layer is not None and hasattr(layer, "flush"):
            flushing = asyncio.ensure_future(layer.flush())
            await asyncio.wait([flushing], timeout=LAYER_TIMEOUT_SECONDS)
            flushing.cancel()

    def _report_layer(self, error: Exception) -> None:
        if not self._layer_failing:
            logger.warning(
                "the channel layer fails (%r): events arrive with the tick, every %s s",
                error,
                settings.REALTIME_TICK_SECONDS,
            )
        self._layer_failing = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Hub.forget)
publisher.hand_over = Hub.hand_over


class Feed:
    """A stream that sockets of this process follow.

    Invariant: every live socket has been sent every event up to `last`, once and in order, but for
    those in `_unsent`, which leave together at the end of the loop's turn.
    """

    def __init__(self, hub: Hub, stream: Stream) -> None:
        self.hub = hub
        self.stream = stream
        self.epoch = str(stream.epoch)
        self.last = stream.head
        self.wanted = stream.head
        self.joined = False
        # Everyone who follows, and those among them who have caught up.
        self.followers: set[Socket] = set()
        self.live: set[Socket] = set()
        self.tail: deque[Frame] = deque()
        self._tail_bytes = 0
        self._unsent: list[Frame] = []
        self._unsent_bytes = 0
        self._doubted = False
        self._unchecked = False
        self._reader: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    def hear(self, hint: Hint) -> None:
        """Take a hint: deliver it if it is the next event, or read up to it if it is further."""
        seq, text = hint["seq"], hint["text"]
        if seq is None:
            self._deliver_signal(Frame(text), hint["exclude"])
        elif hint["epoch"] != self.epoch:
            self.doubt()
        elif seq == self.last + 1 and self._reader is None:
            self._deliver(Frame(text, seq))
        else:
            self.want(seq)

    def want(self, seq: int) -> None:
        """Make sure that everything up to `seq` gets delivered."""
        self.wanted = max(self.wanted, seq)
        if self.wanted > self.last:
            self._read_on()

    def doubt(self) -> None:
        """Check against the database whether this is still the same history."""
        self._doubted = True
        self._read_on()

    def recheck(self) -> None:
        """Check who may still follow, before an event that is heard of later is delivered."""
        self._unchecked = True
        self._read_on()

    def pairs(self) -> set[tuple[Any, int]]:
        """Give the stream's key with the id of each follower, as `Stream.outsiders` asks."""
        return {(self.stream.pk, socket.user_id) for socket in self.followers}

    def dismiss(self, outsiders: Collection[tuple[Any, int]]) -> None:
        """Close the followers among these pairs of a stream's key and a user's id."""
        for socket in list(self.followers):
            if (self.stream.pk, socket.user_id) in outsiders:
                socket.end(CloseCode.NOT_ALLOWED)

    def vanish(self) -> None:
        """Close every follower, since the stream is gone."""
        for socket in list(self.followers):
            socket.end(CloseCode.NO_SUCH_STREAM)

    def after(self, seq: int) -> list[Frame] | None:
        """Give the frames after a position, or nothing if the tail does not reach back so far."""
        missing = self.last - seq
        if missing == 0:
            return []
        if not 0 < missing <= len(self.tail):
            return None
        return list(self.tail)[-missing:]

    def flush(self) -> None:
        """Send the frames of this turn of the loop to every live socket, as one write each."""
        frames, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if frames:
            wire = frames[0].wire if len(frames) == 1 else b"".join(f.wire for f in frames)
            for socket in list(self.live):
                socket.write(frames, wire)

    @property
    def reading(self) -> bool:
        """Whether a read is under way, after which the position may be another."""
        return self._reader is not None

    async def moved(self) -> None:
        """Wait until the position has changed or a read has ended."""
        await self._moved.wait()

    def _deliver(self, frame: Frame) -> None:
        assert frame.seq is not None
        self.last = frame.seq
        self.tail.append(frame)
        self._tail_bytes += len(frame.wire)
        while len(self.tail) > TAIL_FRAMES or self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self.tail.popleft().wire)
        self._send(frame)
        self._announce()

    def _deliver_signal(self, frame: Frame, exclude_user: int | None) -> None:
        if exclude_user is None:
            self._send(frame)
            return
        self.flush()
        for socket in list(self.live):
            if socket.user_id != exclude_user:
                socket.write([frame], frame.wire)

    def _send(self, frame: Frame) -> None:
        if not self._unsent:
            self.hub.flush_soon(self)
        self._unsent.append(frame)
        self._unsent_bytes += len(frame.wire)
        # A burst must not pass what a socket may buffer in one piece.
        if self._unsent_bytes > FLUSH_BYTES:
            self.flush()

    def _announce(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _read_on(self) -> None:
        if self._reader is None:
            self._reader = self.hub.spawn(self._read())

    async def _read(self) -> None:
        """Read what is missing, page by page; hints that come meanwhile only raise `wanted`."""
        try:
            while self.followers and (self._doubted or self._unchecked or self.wanted > self.last):
                unchecked, wanted = self._unchecked, self.wanted
                self._doubted = self._unchecked = False
                try:
                    if unchecked:
                        pairs = self.pairs()
                        self.dismiss(await in_database(self.stream.outsiders, pairs))
                    position, texts = await in_database(_read_after, self.stream, self.last)
                except Exception as error:
                    logger.warning("%s could not be read: %r", self.stream.group, error)
                    self._doubted = True
                    self._unchecked |= unchecked
                    await asyncio.sleep(READ_RETRY_SECONDS)
                    continue
                if position is None:
                    self.vanish()
                    return
                self._take(position, texts)
                await self._pace()
                if self.wanted == wanted:
                    # A hint may promise more than the database knows (it was restored, say).
                    self.wanted = max(position.head, self.last)
        finally:
            self._reader = None
            self._announce()

    def _take(self, position: Position, texts: list[tuple[int, str]]) -> None:
        """Deliver what was read, or start over if it does not continue what was delivered."""
        next_seq = texts[0][0] if texts else position.head + 1
        if position.epoch != self.epoch or position.head < self.last or next_seq != self.last + 1:
            self._start_over(position)
        for seq, text in texts:
            if seq == self.last + 1:
                self._deliver(Frame(text, seq))

    async def _pace(self) -> None:
        """Let the sockets take what was read; only events that are news count as slow reading."""
        self.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PACE_SECONDS):
                for socket in list(self.live):
                    await socket.drained()

    def _start_over(self, position: Position) -> None:
        """Continue from the stream's head: what lies between can no longer be delivered."""
        self.epoch, self.last = position.epoch, position.head
        self.tail.clear()
        self._tail_bytes = 0
        self._send(reset_frame(self.epoch, self.last))
        self._announce()


class Subscription:
    """One socket on one feed, from its asked position to the live events."""

    def __init__(self, socket: Socket, feed: Feed, stream: Stream) -> None:
        self.socket = socket
        self.feed = feed
        self.epoch = str(stream.epoch)
        self.head = stream.head
        self.trimmed = stream.trimmed
        self.seq = self.head
        self.needs_reset = False

    def start(self, since: int | None, epoch: str | None) -> None:
        """Choose the position from which to continue.

        Args:
            since: the last sequence number that the client has, nothing to start at the head.
            epoch: the history that it belongs to, a UUID.
        """
        if since is None:
            return
        usable = (
            epoch == self.epoch
            and self.trimmed <= since <= self.head
            and self.head - since <= settings.REALTIME_REPLAY_LIMIT
        )
        if usable:
            self.seq = since
        else:
            self.needs_reset = True

    def join_live(self) -> bool:
        """Join the live sockets if the tail holds all that is missing; without an `await`."""
        if self.feed.epoch != self.epoch or self.feed.last < self.seq:
            if self.feed.reading:
                return False
            self._reset()
        frames = self.feed.after(self.seq)
        if frames is None:
            return False
        self.feed.flush()
        if frames:
            self.socket.write(frames, b"".join(frame.wire for frame in frames))
        self.feed.live.add(self.socket)
        return True

    async def replay(self) -> None:
        """Send stored events page by page, waiting for the client to read, until it is live."""
        feed = self.feed
        while not self.join_live():
            if feed.reading and (feed.epoch != self.epoch or feed.last < self.seq):
                await feed.moved()
                continue
            try:
                position, texts = await in_database(_read_after, feed.stream, self.seq)
            except Exception as error:
                logger.warning("%s could not be replayed: %r", feed.stream.group, error)
                await asyncio.sleep(READ_RETRY_SECONDS)
                continue
            if position is None:
                self.socket.end(CloseCode.NO_SUCH_STREAM)
                return
            if position.epoch != self.epoch:
                feed.doubt()
            elif not texts or texts[0][0] != self.seq + 1:
                self._reset()
            else:
                for frame in (Frame(text, seq) for seq, text in texts):
                    await self.socket.drained()
                    self.socket.write([frame], frame.wire)
                self.seq = texts[-1][0]
                feed.want(self.seq)

    def stop(self) -> None:
        """Let the socket go; the feed itself stays until the tick, for one who comes back."""
        self.feed.followers.discard(self.socket)
        self.feed.live.discard(self.socket)
        self.feed.hub.connections.leave(self.socket)

    def _reset(self) -> None:
        self.epoch, self.seq = self.feed.epoch, self.feed.last
        frame = reset_frame(self.epoch, self.seq)
        self.socket.write([frame], frame.wire)


def reset_frame(epoch: str, seq: int) -> Frame:
    """Give the frame that tells a client to refetch over REST and carry on from `seq`."""
    return Frame(encode({"type": "realtime.reset", "epoch": epoch, "seq": seq}))


def _read_after(stream: Stream, seq: int) -> tuple[Position | None, list[tuple[int, str]]]:
    return streams.position(stream), streams.texts_after(stream, seq, PAGE_SIZE, PAGE_BYTES)


def _token_versions(user_ids: set[int]) -> dict[int, int]:
    users = get_user_model()._default_manager.filter(pk__in=user_ids, is_active=True)
    return dict(users.values_list("pk", "token_version"))
