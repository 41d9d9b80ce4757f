"""One hub per process: the connections, the feeds that they follow, and the tick.

The hub hears of new events once and hands them to their feeds. Every tick it compares all feeds
with the database, which repairs whatever the channel layer has lost.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model

from . import streams
from .bus import EVERYONE, SEND_TIMEOUT_SECONDS, AnyMessage, Receiver, layer_is_local, publisher
from .close_codes import CloseCode
from .connection import Connection
from .database import in_database
from .feed import Feed, Subscription
from .frames import Tail
from .models import Stream
from .presence import Presence
from .sessions import Sessions

logger = logging.getLogger(__name__)

# What a process keeps of the latest frames, for those who come back after a short while.
TAIL_BYTES = 4 * 1024 * 1024
TAIL_SECONDS = 60
# Reads of streams at a time; those that wait share the next query.
READERS = 2
READ_BATCH = 200
# Streams and followers that are checked at a time, so that a tick of many keeps nobody waiting.
PORTION = 2_000
# Seconds until a read that failed is tried again.
RETRY_SECONDS = 1.0


class TooManySockets(Exception):
    """The user has as many open sockets as one may."""


class Hub:
    """The connections of one event loop, the streams they follow, and what other processes say."""

    _instances: dict[asyncio.AbstractEventLoop, "Hub"] = {}
    _instances_lock = threading.Lock()

    @classmethod
    def current(cls) -> "Hub":
        """Return the running event loop's hub; the first call makes it."""
        loop = asyncio.get_running_loop()
        with cls._instances_lock:
            for other in [other for other in cls._instances if other.is_closed()]:
                del cls._instances[other]
            if loop not in cls._instances:
                cls._instances[loop] = cls(loop)
            return cls._instances[loop]

    @classmethod
    def forget(cls) -> None:
        """Start anew in a forked child, whose parent's event loops do not run."""
        cls._instances = {}
        cls._instances_lock = threading.Lock()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.feeds: dict[str, Feed] = {}
        self.connections: set[Connection] = set()
        self.sessions = Sessions(loop)
        self.presence = Presence(self)
        self.receiver = Receiver(self.hear)
        self.tail = Tail(TAIL_BYTES, TAIL_SECONDS, loop)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsent: list[Feed] = []
        self._reads: deque[tuple[streams.Request, asyncio.Future[streams.Page]]] = deque()
        self._readers = 0
        self._new_feeds: set[Feed] = set()
        self._has_new_feed = asyncio.Event()
        self._closing = False
        publisher.hand_to(self.hear)
        self.spawn(self._repair())
        self._sending: asyncio.Task[None] | None = None
        if not layer_is_local():
            self._sending = loop.create_task(publisher.send_from_here())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the background and keep it alive until it is done."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End every task, the rows of the connections and the connection to the channel layer."""
        with self._instances_lock:
            self._instances.pop(self.loop, None)
        publisher.hand_no_more()
        # Said as well, since channels_redis can swallow a cancellation while it connects.
        self._closing = True
        await self.sessions.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.receiver.close()
        if self._sending is not None:
            publisher.hand_back()
            await asyncio.wait([self._sending], timeout=SEND_TIMEOUT_SECONDS)
            self._sending.cancel()

    # Connections

    async def join(
        self, connection: Connection, stream: Stream, *, is_present: bool = True
    ) -> Subscription:
        """Let a connection in, and let it follow its own stream, whose row has just been read.

        Args:
            connection: who comes.
            stream: what it follows.
            is_present: whether it counts as presence, where the stream tells of that.

        Raises:
            TooManySockets: the user has `REALTIME_SOCKETS_PER_USER` already.
            InvalidToken: the user's access has ended since the token was checked.
            StreamBusy: the user's row was locked for too long.
        """
        # Before `enter` looks at the token once more: what ends it from then on, the hub hears.
        self.connections.add(connection)
        if not await self.sessions.enter(
            connection,
            connection.user_id,
            connection.token_version,
            stream,
            is_present=is_present,
        ):
            raise TooManySockets
        return self.follow(connection, stream)

    def leave(self, connection: Connection) -> None:
        """Let a connection go."""
        self.connections.discard(connection)
        self.sessions.leave(connection)

    def unfollow(self, subscription: Subscription) -> None:
        """Let a subscription go."""
        subscription.stop()
        self.sessions.leave(subscription)

    def follow(
        self, connection: Connection, stream: Stream, name: str | None = None
    ) -> Subscription:
        """Let a connection follow a stream whose row has just been read; see `Subscription`."""
        followed = self.feeds.get(stream.group)
        if followed is None:
            followed = self.feeds[stream.group] = Feed(self, stream)
            self._new_feeds.add(followed)
            self._has_new_feed.set()
        subscription = Subscription(connection, followed, stream, name)
        if followed.epoch != subscription.epoch:
            followed.reread()
        else:
            followed.want(stream.head)
        return subscription

    def end(self, code: CloseCode) -> None:
        """End all connections, since the server stops."""
        for connection in list(self.connections):
            connection.end(code)

    async def announce(self, subscriptions: Iterable[Subscription]) -> None:
        """Tell those who are present on streams of these subscriptions that they begin.

        Raises:
            InvalidToken: the user's access has ended since the token was checked.
            StreamBusy: the user's row was locked for too long.
        """
        telling = [one for one in subscriptions if one.feed.stream.tells_presence()]
        arrivals = (
            self.sessions.enter(
                one,
                one.connection.user_id,
                one.connection.token_version,
                one.feed.stream,
                is_socket=False,
            )
            for one in telling
        )
        for outcome in await asyncio.gather(*arrivals, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        await self.presence.look(one.feed for one in telling)

    # What is heard

    def hear(self, messages: Sequence[AnyMessage]) -> None:
        """Take messages in the order in which they were published."""
        for message in messages:
            followed = self.feeds.get(message["group"])
            if message["type"] == "realtime.revoke":
                self._end_connections(message["user"], message["version"])
            elif followed is None:
                continue
            elif message["type"] == "realtime.hint":
                followed.hear(message)
            elif message["type"] == "realtime.signal":
                followed.hear_signal(message)
            elif message["type"] == "realtime.recheck":
                followed.reread()
            elif message["type"] == "realtime.look":
                self.presence.look([followed])

    def _end_connections(self, user_id: int, version: int | None) -> None:
        """Close the connections of a user whose access tokens before a version, or all, ended."""
        for connection in list(self.connections):
            if connection.user_id == user_id and (
                version is None or connection.token_version < version
            ):
                connection.end(CloseCode.NOT_AUTHENTICATED)

    # What feeds need

    def flush_soon(self, feed: Feed) -> None:
        """Let a feed send its frames at the end of this turn of the loop, together with others."""
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent.append(feed)

    def _flush(self) -> None:
        feeds, self._unsent = self._unsent, []
        for feed in feeds:
            feed.flush()

    async def read(self, stream: Stream, seq: int, users: Collection[int]) -> streams.Page:
        """Read what follows a position, and then which of these users may not follow.

        All that is asked for while other reads are under way shares the next ones. One that fails
        is tried again until the database answers.
        """
        while True:
            answer: asyncio.Future[streams.Page] = self.loop.create_future()
            self._reads.append((streams.Request(stream, seq, frozenset(users)), answer))
            if self._readers < READERS:
                self._readers += 1
                self.spawn(self._read_batches())
            try:
                return await answer
            except Exception as error:
                logger.warning("%s could not be read: %r", stream.group, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _read_batches(self) -> None:
        try:
            while self._reads:
                count = min(len(self._reads), READ_BATCH)
                batch = [self._reads.popleft() for _ in range(count)]
                # Who has gone in the meantime needs no answer.
                await self._read_batch([one for one in batch if not one[1].done()])
        finally:
            self._readers -= 1

    async def _read_batch(
        self, batch: Sequence[tuple[streams.Request, asyncio.Future[streams.Page]]]
    ) -> None:
        if not batch:
            return
        try:
            pages = await in_database(streams.read, [request for request, _ in batch])
        except Exception as error:
            if len(batch) > 1:
                # One that cannot be read is no reason not to read the others.
                for single in batch:
                    await self._read_batch([single])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, answer), page in zip(batch, pages, strict=True):
            if not answer.done():
                answer.set_result(page)

    # The tick

    async def _repair(self) -> None:
        next_tick = self.loop.time() + settings.REALTIME_TICK_SECONDS
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_tick):
                    await self._has_new_feed.wait()
            self._has_new_feed.clear()
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
        feeds, self._new_feeds = self._new_feeds, set()
        knew_of_users = self.receiver.has_joined(EVERYONE)
        if not self.receiver.failing:
            await self._join(feeds)
        if self.receiver.has_joined(EVERYONE) and not knew_of_users:
            await self._check_users()
        await self._check_followers(feeds)
        await self._compare(feeds)

    async def _tick(self) -> None:
        self._new_feeds.clear()
        self.sessions.refresh()
        self.tail.trim()
        idle = [feed for feed in self.feeds.values() if not feed.followers]
        for feed in idle:
            del self.feeds[feed.stream.group]
        if not layer_is_local():
            await self.receiver.leave([feed.stream.group for feed in idle])
            await self.receiver.probe()
            await self._join(self.feeds.values())
        await self._compare(self.feeds.values())
        await self._check_users()
        await self._check_followers(self.feeds.values())
        for portion in _portions(self.feeds.values(), lambda feed: len(feed.present or ())):
            await self.presence.look(portion)

    async def _join(self, feeds: Collection[Feed]) -> None:
        if not layer_is_local():
            await self.receiver.join([EVERYONE, *(feed.stream.group for feed in feeds)])

    async def _compare(self, feeds: Collection[Feed]) -> None:
        """Compare each feed with its stream's row, and let it read what it has missed."""
        for portion in _portions(feeds, lambda feed: 1):
            before = [(feed, feed.epoch, feed.last) for feed in portion]
            found = await in_database(streams.positions, [feed.stream for feed in portion])
            for feed, epoch, last in before:
                position = found.get(feed.stream.group)
                if feed.epoch != epoch:
                    continue  # It has been set right in the meantime.
                if position is None:
                    feed.end(CloseCode.NO_SUCH_STREAM)
                elif position.epoch != epoch or position.head < last:
                    feed.reread()
                else:
                    feed.want(position.head)

    async def _check_users(self) -> None:
        """Close the connections of users whose access has ended, had the layer not said so."""
        users = {connection.user_id for connection in self.connections}
        versions = await in_database(_token_versions, users) if users else {}
        for connection in list(self.connections):
            user_id = connection.user_id
            if user_id in users and versions.get(user_id) != connection.token_version:
                connection.end(CloseCode.NOT_AUTHENTICATED)

    async def _check_followers(self, feeds: Collection[Feed]) -> None:
        """End the subscriptions of users without access, had the layer not said so."""
        checked = [feed for feed in feeds if feed.stream.can_lose_access()]
        for portion in _portions(checked, lambda feed: len(feed.followers)):
            by_model: dict[type[Stream], set[tuple[Any, int]]] = {}
            for feed in portion:
                pairs = by_model.setdefault(type(feed.stream), set())
                pairs.update((feed.stream.pk, user) for user in feed.users)
            for model, pairs in by_model.items():
                lost = await in_database(model.without_access, pairs) if pairs else ()
                for pk, user in lost:
                    if (followed := self.feeds.get(model.group_of(pk))) is not None:
                        followed.end(CloseCode.NOT_ALLOWED, {user})


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Hub.forget)


def _portions(feeds: Iterable[Feed], weigh: Callable[[Feed], int]) -> Iterator[list[Feed]]:
    """Divide feeds into lists of `PORTION` by weight, or one feed more."""
    portion: list[Feed] = []
    weight = 0
    for feed in list(feeds):
        portion.append(feed)
        weight += weigh(feed)
        if weight >= PORTION:
            yield portion
            portion, weight = [], 0
    if portion:
        yield portion


def _token_versions(user_ids: set[int]) -> dict[int, int]:
    users = get_user_model()._default_manager.filter(pk__in=user_ids, is_active=True)
    return dict(users.values_list("pk", "token_version"))
