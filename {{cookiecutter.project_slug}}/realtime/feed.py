"""One stream as this process follows it, and one subscription to it: the hard part of `realtime`.

A feed knows the last event that it delivered, so a hint is one of three: old (dropped), the next
one (delivered as it is), or further ahead (what is missing is read from the database, once for all
subscriptions). Nothing else decides what a client sees, so neither a lost hint, nor one that comes
twice or late, nor a channel layer that is down makes a gap or a duplicate.

Every read also asks who may still follow, after it has read the events: whoever lost access before
an event was stored does not get it from here.

All of this runs on the event loop; between two `await`s nothing else does. That is what makes "take
the tail and go live" and "check `last` and deliver" safe without a lock.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection, Coroutine, Iterable, Sequence
from copy import copy
from typing import Any, Protocol

from django.conf import settings

from .bus import Hint, Signal
from .close_codes import CloseCode
from .connection import Connection
from .frames import Frame, Tail, join, reset_frame
from .models import Stream
from .streams import Page, Position

# What one write to the subscriptions of a feed holds at most, but for its last frame.
FLUSH_BYTES = 64 * 1024
# Seconds that a read of missing events waits for its slowest connection before it goes on.
PACE_SECONDS = 1.0
# Signals that wait for a check of who may have them; they are worthless soon.
HELD_SIGNALS = 100


class Host(Protocol):
    """What feeds need of the process that they are in."""

    tail: Tail

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the background."""

    def flush_soon(self, feed: "Feed") -> None:
        """Call the feed's `flush` at the end of this turn of the loop."""

    async def read(self, stream: Stream, seq: int, users: Collection[int]) -> Page:
        """Read what follows a position, and then which of these users may not follow.

        One that fails is tried again until the database answers.
        """


class Feed:
    """A stream that subscriptions of this process follow.

    Invariant: every live subscription has been sent every event up to `last`, once and in order,
    but for those in `_unsent`, which leave together at the end of the loop's turn.

    A subscription begins as one of the `followers`, who get nothing. When its access has been
    checked it is told that it has begun, and gets signals; behind the feed, it is one of those
    `behind` until it has read up to the feed's last event. Then it is `live`.
    """

    def __init__(self, host: Host, stream: Stream) -> None:
        self.host = host
        # A copy: Django takes the key of an object that is deleted away.
        self.stream = copy(stream)
        self.epoch = str(stream.epoch)
        self.last = stream.head
        self.followers: set[Subscription] = set()
        self.behind: set[Subscription] = set()
        self.live: set[Subscription] = set()
        # Who is present, by id, where the stream tells of it; `realtime.presence` keeps it.
        self.present: dict[int, str] | None = None
        self._wanted = stream.head
        self._tail: deque[Frame] = deque()
        self._unsent: list[Frame] = []
        self._unsent_bytes = 0
        # Reads that were asked for, and the last of these that was done.
        self._asked = self._answered = 0
        self._held: deque[Signal] = deque(maxlen=HELD_SIGNALS)
        self._moved = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def hear(self, hint: Hint) -> None:
        """Take a hint: deliver it if it is the next event, or read up to it if it is further."""
        if hint["epoch"] != self.epoch:
            self.reread()
        elif hint["seq"] == self.last + 1 and self._reader is None:
            self._deliver(Frame(hint["text"], hint["seq"]))
        else:
            self.want(hint["seq"])

    def hear_signal(self, signal: Signal) -> None:
        """Deliver an event that is not stored; while access is in question, later."""
        if self.in_question:
            self._held.append(signal)
            return
        frame, excluded = Frame(signal["text"]), signal["exclude"]
        if excluded is None and not self.behind:
            self._send(frame)
            return
        self.flush()
        everyone = (*self.live, *self.behind)
        _write([one for one in everyone if one.connection.user_id != excluded], [frame])

    def want(self, seq: int) -> None:
        """Make sure that everything up to `seq` gets delivered."""
        self._wanted = max(self._wanted, seq)
        if self._wanted > self.last:
            self._read_on()

    def reread(self) -> None:
        """Ask the database whether this is still the same history, and who may follow it.

        What is heard of after this is delivered to those who still may.
        """
        self._asked += 1
        self._read_on()

    def end(self, code: CloseCode, users: Collection[int] | None = None) -> None:
        """End the subscriptions of these users, or all."""
        for subscription in tuple(self.followers):
            if users is None or subscription.connection.user_id in users:
                subscription.end(code)

    @property
    def in_question(self) -> bool:
        """Whether it is being asked who may follow; signals are held back until then."""
        return self._answered < self._asked

    @property
    def users(self) -> set[int]:
        """The ids of those who follow."""
        return {subscription.connection.user_id for subscription in self.followers}

    @property
    def reading(self) -> bool:
        """Whether a read is under way, after which the position may be another."""
        return self._reader is not None

    async def moved(self) -> None:
        """Wait until what was read has been delivered, or no read is under way any more."""
        await self._moved.wait()

    def after(self, seq: int) -> list[Frame] | None:
        """Return the frames after a position, None if the tail does not reach back so far."""
        missing = self.last - seq
        if missing == 0:
            return []
        if not 0 < missing <= len(self._tail):
            return None
        return list(self._tail)[-missing:]

    def flush(self) -> None:
        """Send the frames of this turn of the loop to every live subscription, as one write."""
        frames, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if frames:
            _write(tuple(self.live), frames)

    def _deliver(self, frame: Frame) -> None:
        assert frame.seq is not None
        self.last = frame.seq
        self.host.tail.add(self._tail, frame)
        self._send(frame)

    def _send(self, frame: Frame) -> None:
        if not self._unsent:
            self.host.flush_soon(self)
        self._unsent.append(frame)
        self._unsent_bytes += len(frame.wire)
        # A burst must not pass what a connection may buffer in one piece.
        if self._unsent_bytes > FLUSH_BYTES:
            self.flush()

    def _read_on(self) -> None:
        if self._reader is None:
            self._reader = self.host.spawn(self._read())

    async def _read(self) -> None:
        """Read what is missing, page by page; hints that come meanwhile only raise `_wanted`."""
        try:
            while self.followers and (self._answered < self._asked or self._wanted > self.last):
                asked, wanted = self._asked, self._wanted
                page = await self.host.read(self.stream, self.last, self.users)
                if page.position is None:
                    self.end(CloseCode.NO_SUCH_STREAM)
                    return
                self.end(CloseCode.NOT_ALLOWED, page.without_access)
                self._answer(asked)
                self._take(page.position, page.texts)
                await self._pace()
                if self._wanted == wanted:
                    # A hint may promise more than the database knows (it was restored, say).
                    self._wanted = max(page.position.head, self.last)
        finally:
            self._reader = None
            self._answer(self._asked)
            self._announce()

    def _answer(self, asked: int) -> None:
        """Note what has been asked for and is done; what waited for it is delivered."""
        self._answered = asked
        while self._held and self._answered == self._asked:
            self.hear_signal(self._held.popleft())

    def _take(self, position: Position, texts: list[tuple[int, str]]) -> None:
        """Deliver what was read, or start over if it does not continue what was delivered."""
        next_seq = texts[0][0] if texts else position.head + 1
        if position.epoch != self.epoch or position.head < self.last or next_seq != self.last + 1:
            # What lies between can no longer be delivered.
            self.epoch, self.last = position.epoch, position.head
            self._tail = deque()
            self._send(reset_frame(self.epoch, self.last))
        for seq, text in texts:
            if seq == self.last + 1:
                self._deliver(Frame(text, seq))
        self._announce()

    def _announce(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _pace(self) -> None:
        """Let the connections take what was read; only events that are news count as slow."""
        self.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PACE_SECONDS):
                for subscription in tuple(self.live):
                    await subscription.connection.drained()


class Subscription:
    """One connection on one feed, from its asked position to the live events."""

    __slots__ = (
        "_head",
        "_needs_reset",
        "_replay",
        "_trimmed",
        "connection",
        "epoch",
        "feed",
        "name",
        "seq",
    )

    def __init__(
        self, connection: Connection, feed: Feed, stream: Stream, name: str | None = None
    ) -> None:
        """Follow a feed; nothing is sent before `start`.

        Args:
            connection: who follows.
            feed: what.
            stream: the row of it that was read for this.
            name: what the frames name it, None where the connection is the stream's own.
        """
        self.connection = connection
        self.feed = feed
        self.name = name
        epoch = str(stream.epoch)
        # The feed's own string where it is the same: there may be many subscriptions.
        self.epoch = feed.epoch if feed.epoch == epoch else epoch
        self.seq = self._head = stream.head
        self._trimmed = stream.trimmed
        self._needs_reset = False
        self._replay: asyncio.Task[None] | None = None
        feed.followers.add(self)

    def ask(self, since: int, epoch: str | None) -> None:
        """Choose the position from which to continue.

        Args:
            since: the last sequence number that the client has.
            epoch: the history that it belongs to, a UUID.
        """
        if (
            epoch == self.epoch
            and self._trimmed <= since <= self._head
            and self._head - since <= settings.REALTIME_REPLAY_LIMIT
        ):
            self.seq = since
        else:
            self._needs_reset = True

    def start(self) -> None:
        """Send what follows the position, and then whatever happens, unless it has ended."""
        if self not in self.feed.followers:
            return
        # Access that can be withdrawn may have been while the row was read.
        is_checked = not type(self.feed.stream).can_lose_access()
        if is_checked:
            self._begin()
        if not is_checked or not self._go_live():
            self._replay = self.feed.host.spawn(self._read_until_live())

    @property
    def is_live(self) -> bool:
        """Whether everything up to the feed's last event has been sent."""
        return self in self.feed.live

    def end(self, code: CloseCode) -> None:
        """Stop, and let the connection tell its client why."""
        if self in self.feed.followers:
            self.stop()
            self.connection.unsubscribed(self, code)

    def stop(self) -> None:
        """Send nothing more; the feed stays until the tick, for one who comes back."""
        if self._replay is not None:
            self._replay.cancel()
        self.feed.followers.discard(self)
        self.feed.behind.discard(self)
        self.feed.live.discard(self)

    def send(self, frame: Frame) -> None:
        """Send a frame that is for this subscription alone."""
        _write([self], [frame])

    def _begin(self) -> None:
        """Tell the client that it follows; its access has been checked."""
        self.feed.behind.add(self)
        self.connection.subscribed(self)
        if self._needs_reset:
            _write([self], [reset_frame(self.epoch, self.seq)])

    def _go_live(self) -> bool:
        """Go live if the tail holds all that is missing; without an `await`."""
        feed = self.feed
        if self._is_ahead():
            return False
        if feed.epoch != self.epoch or feed.last < self.seq:
            self._reset()
        frames = feed.after(self.seq)
        if frames is None:
            return False
        feed.flush()
        if frames:
            _write([self], frames)
        feed.behind.discard(self)
        feed.live.add(self)
        return True

    async def _read_until_live(self) -> None:
        """Send stored events page by page, waiting for the client to read, until it is live."""
        try:
            await self._read_pages()
        finally:
            self._replay = None

    async def _read_pages(self) -> None:
        feed, connection = self.feed, self.connection
        while True:
            page = await feed.host.read(feed.stream, self.seq, {connection.user_id})
            if page.position is None:
                self.end(CloseCode.NO_SUCH_STREAM)
                return
            if page.without_access:
                self.end(CloseCode.NOT_ALLOWED)
                return
            if self not in feed.behind:
                self._begin()
            if page.position.epoch != self.epoch:
                feed.reread()
            elif page.texts and page.texts[0][0] == self.seq + 1:
                for seq, text in page.texts:
                    await connection.drained()
                    _write([self], [Frame(text, seq)])
                    self.seq = seq
                feed.want(self.seq)
            elif page.texts or page.position.head != self.seq:
                self._reset()
            while not self._go_live() and self._is_ahead():
                await feed.moved()
            if self.is_live:
                return

    def _is_ahead(self) -> bool:
        """Return whether the feed has yet to read what this subscription has already seen."""
        feed = self.feed
        return feed.reading and (feed.epoch != self.epoch or feed.last < self.seq)

    def _reset(self) -> None:
        self.epoch, self.seq = self.feed.epoch, self.feed.last
        _write([self], [reset_frame(self.epoch, self.seq)])


def _write(subscriptions: Iterable[Subscription], frames: Sequence[Frame]) -> None:
    """Send frames, joined once for each name that they have on a connection."""
    forms: dict[str | None, tuple[Sequence[Frame], bytes]] = {}
    for subscription in subscriptions:
        form = forms.get(subscription.name)
        if form is None:
            named = [frame.named(subscription.name) for frame in frames]
            form = forms[subscription.name] = (named, join(named))
        subscription.connection.write(*form)
