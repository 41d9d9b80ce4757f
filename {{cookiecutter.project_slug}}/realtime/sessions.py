"""The open sockets of every process, as rows: for the cap per user, presence and the admin pages.
So are subscriptions, where a stream tells who is present.

Whoever comes or goes while one transaction is under way shares the next one, so a thousand clients
that reconnect together cost a handful of transactions. A process that is killed leaves its rows
behind; they count no longer once it has not been seen for a while, and the others delete them.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import Case, When
from django.utils import timezone

from accounts.tokens import InvalidToken

from .bus import publisher
from .database import in_database
from .models import Connection, Process, Stream
from .presence import living_since
from .streams import StreamBusy

logger = logging.getLogger(__name__)

# Sockets in one transaction.
BATCH = 200
# Seconds between two attempts to lock the row of a user whom another transaction holds.
BUSY_SECONDS = 0.05
# Seconds that the end of a process waits for its rows to go.
CLOSE_SECONDS = 5


@dataclass(slots=True, eq=False)
class Session:
    """A row: its key, user, the version of the user's token, the group of the stream, whether that
    tells who is present, and whether this is a socket, or a subscription on one."""

    key: UUID
    user_id: int
    token_version: int
    group: str
    is_announced: bool
    is_socket: bool


class Arrival(NamedTuple):
    """A socket that waits for its row, and until when (the loop's time)."""

    session: Session
    admitted: asyncio.Future[bool]
    deadline: float


class Outcome(NamedTuple):
    """What came of a batch: whom it refused, for whom or whose token it came too late, whom it
    could not lock, and whether the process is new."""

    refused: set[UUID]
    ended: set[UUID]
    busy: set[int]
    is_new: bool


class Sessions:
    """The rows of this event loop's sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.process = uuid4()
        self._sessions: dict[Any, Session] = {}
        # Who has been let in and has not left, while the row is being written.
        self._entering: set[Any] = set()
        self._arriving: deque[Arrival] = deque()
        self._leaving: deque[Session] = deque()
        self._refresh_due = False
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def enter(
        self,
        holder: Any,
        user_id: int,
        token_version: int,
        stream: Stream,
        *,
        is_socket: bool = True,
        is_present: bool = True,
    ) -> bool:
        """Write the row of a subscription, or of a socket unless the user holds as many as may be.

        Args:
            holder: whatever is handed to `leave` later.
            user_id: the id of its user.
            token_version: the user's, when the socket's token was checked.
            stream: what it follows.
            is_socket: whether it counts against the cap.
            is_present: whether it counts as presence, where the stream tells of that.

        Returns:
            Whether there is room for it, and it has not left meanwhile; the cap is
            `REALTIME_SOCKETS_PER_USER`.

        Raises:
            InvalidToken: the user's access has ended since the token was checked.
            StreamBusy: another transaction held the user's row for longer than
                `REALTIME_LOCK_TIMEOUT_SECONDS`.
        """
        session = Session(
            uuid4(),
            user_id,
            token_version,
            stream.group if is_present else "",
            stream.tells_presence() and is_present,
            is_socket,
        )
        deadline = self.loop.time() + settings.REALTIME_LOCK_TIMEOUT_SECONDS
        arrival = Arrival(session, self.loop.create_future(), deadline)
        self._arriving.append(arrival)
        self._entering.add(holder)
        self._work_on()
        try:
            admitted = await arrival.admitted
        except asyncio.CancelledError:
            self._delete(session)  # It may have been written.
            raise
        finally:
            is_here = holder in self._entering
            self._entering.discard(holder)
        if admitted and is_here:
            self._sessions[holder] = session
        elif admitted:
            self._delete(session)
        return admitted and is_here

    def leave(self, holder: Any) -> None:
        """Let the row of a socket or a subscription be deleted soon, also one not yet written."""
        self._entering.discard(holder)
        session = self._sessions.pop(holder, None)
        if session is not None:
            self._delete(session)

    def _delete(self, session: Session) -> None:
        self._leaving.append(session)
        self._work_on()

    def refresh(self) -> None:
        """Say that this process lives and delete the rows of those that do not; returns at once."""
        if self._sessions:
            self._refresh_due = True
        self._work_on()

    async def close(self) -> None:
        """Delete every row of this process."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._worker is not None:
                    await asyncio.wait([self._worker])
                self._closed = True
                await in_database(_end, self.process)
        except Exception as error:
            logger.warning("rows of open sockets stay until others delete them: %r", error)
        self._closed = True

    def _work_on(self) -> None:
        if self._worker is None and not self._closed:
            self._worker = self.loop.create_task(self._work())

    async def _work(self) -> None:
        fails = False
        try:
            # Those who leave can wait for the next tick, those who arrive cannot.
            while self._arriving or ((self._leaving or self._refresh_due) and not fails):
                try:
                    if self._refresh_due:
                        self._refresh_due = False
                        if not await in_database(_refresh, self.process):
                            await self._restore()
                    await self._write_batch()
                except Exception as error:
                    logger.warning("the rows of open sockets could not be written: %r", error)
                    fails = True
        finally:
            self._worker = None

    async def _write_batch(self) -> None:
        arriving = [arrival for arrival in _take(self._arriving) if not arrival.admitted.done()]
        leaving = list(_take(self._leaving))
        if not arriving and not leaving:
            return
        sessions = [arrival.session for arrival in arriving]
        try:
            outcome = await in_database(_update, self.process, sessions, leaving)
        except Exception as error:
            # An answer that got lost may have been a commit: what is not known to be stored is
            # deleted, or the rows would keep the user out.
            self._leaving.extend([*leaving, *sessions])
            for arrival in arriving:
                _fail(arrival, error)
            raise
        if outcome.is_new and self._sessions:
            await self._restore()
        for arrival in arriving:
            if arrival.session.key in outcome.ended:
                _fail(arrival, InvalidToken("The user's access has ended"))
            elif arrival.session.user_id not in outcome.busy:
                if not arrival.admitted.done():
                    arrival.admitted.set_result(arrival.session.key not in outcome.refused)
            elif self.loop.time() < arrival.deadline:
                self._arriving.append(arrival)
            else:
                _fail(arrival, StreamBusy("the user is locked by another transaction"))
        if outcome.busy:
            self._leaving.extend(session for session in leaving if session.user_id in outcome.busy)
            await asyncio.sleep(BUSY_SECONDS)

    async def _restore(self) -> None:
        """Write all rows again, after others took this process for dead."""
        await in_database(_restore, self.process, list(self._sessions.values()))


def _take(queue: deque[Any]) -> list[Any]:
    return [queue.popleft() for _ in range(min(len(queue), BATCH))]


def _fail(arrival: Arrival, error: Exception) -> None:
    if not arrival.admitted.done():
        arrival.admitted.set_exception(error)


# On a database thread


def _update(process: UUID, arriving: Collection[Session], leaving: Collection[Session]) -> Outcome:
    with transaction.atomic(using=router.db_for_write(Connection)):
        is_new = bool(arriving) and not _see(process)
        wanted = {session.user_id for session in (*arriving, *leaving)}
        users = get_user_model()._default_manager.filter(pk__in=wanted).order_by("pk")
        # Of those whom another transaction holds nobody else shall wait.
        free = users.select_for_update(skip_locked=True, no_key=True)
        active_version = Case(When(is_active=True, then="token_version"))
        versions = dict(free.values_list("pk", active_version))
        locked = versions.keys()
        existing = locked if locked == wanted else set(users.values_list("pk", flat=True))
        busy = existing - locked

        admitted, refused, ended = [], set(), set()
        count = Counter(
            Connection.objects.filter(
                is_socket=True,
                user__in={session.user_id for session in arriving},
                process__seen_at__gt=living_since(),
            ).values_list("user", flat=True)
        )
        for session in arriving:
            if session.user_id in busy:
                continue
            if versions.get(session.user_id) != session.token_version:
                ended.add(session.key)
            elif not session.is_socket:
                admitted.append(session)
            elif count[session.user_id] < settings.REALTIME_SOCKETS_PER_USER:
                count[session.user_id] += 1
                admitted.append(session)
            else:
                refused.add(session.key)
        gone = [session for session in leaving if session.user_id not in busy]

        _insert(process, admitted)
        if gone:
            Connection.objects.filter(pk__in=[session.key for session in gone]).delete()
        # A robust callback: a failing message must not undo what is stored.
        announce = partial(_announce, [*admitted, *gone])
        transaction.on_commit(announce, using=router.db_for_write(Connection), robust=True)
        return Outcome(refused, ended, busy, is_new)


def _announce(sessions: Collection[Session]) -> None:
    """Let every process look who is present where somebody has come or gone."""
    groups = {session.group for session in sessions if session.is_announced}
    publisher.publish([{"type": "realtime.look", "group": group} for group in groups])


def _refresh(process: UUID) -> bool:
    """Say that a process lives, and delete the dead ones; whether it was known."""
    known = Process.objects.filter(pk=process).update(seen_at=timezone.now())
    if Process.objects.filter(seen_at__lte=living_since()).exists():
        with transaction.atomic(using=router.db_for_write(Connection)):
            found = Process.objects.filter(seen_at__lte=living_since())
            dead = list(found.select_for_update(skip_locked=True).values_list("pk", flat=True))
            Process.objects.filter(pk__in=dead).delete()
    return bool(known)


def _restore(process: UUID, sessions: Collection[Session]) -> None:
    with transaction.atomic(using=router.db_for_write(Connection)):
        _see(process)
        _insert(process, sessions)


def _end(process: UUID) -> None:
    Process.objects.filter(pk=process).delete()


def _see(process: UUID) -> bool:
    """Say that a process lives; whether it was known."""
    if Process.objects.filter(pk=process).update(seen_at=timezone.now()):
        return True
    Process.objects.create(pk=process, seen_at=timezone.now())
    return False


def _insert(process: UUID, sessions: Collection[Session]) -> None:
    if sessions:
        Connection.objects.bulk_create(
            [
                Connection(
                    pk=session.key,
                    process_id=process,
                    user_id=session.user_id,
                    stream=session.group,
                    is_socket=session.is_socket,
                )
                for session in sessions
            ],
            batch_size=BATCH,
            ignore_conflicts=True,
        )
