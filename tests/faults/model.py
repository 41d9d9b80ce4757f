"""What must hold for every subscription whatever happens, and all that has happened so far.

Nothing here asks the servers: it knows what was done to whom, and what came over the network.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Seconds after a fault of Redis or PostgreSQL in which a message that ends access may get lost.
SETTLE_SECONDS = 10
# Whether a stored event has no excuse even so, since it says itself that somebody lost access.
STRICT = False
# Seconds in which every access that has ended must be seen to end, also by the tick alone.
END_SECONDS = 60


class Position(NamedTuple):
    """A place in a stream's history."""

    epoch: str
    seq: int


#: What a client sends that has lost its position: no history and no number.
NOWHERE = Position("", -1)


class Asked(NamedTuple):
    """What a client has asked for, and when; no position is "from now on"."""

    position: Position | None
    at: float
    #: That it asked for the end.
    leaves: bool = False


class Arrived(NamedTuple):
    """A stored event as it arrived, and when."""

    seq: int
    event: dict[str, Any]
    at: float


class Reset(NamedTuple):
    """A jump that the server made: from what was asked for or reached, to where it stands."""

    before: Position
    after: Position


@dataclass
class Access:
    """A user's token, and its place among those that the user has had."""

    token: str
    number: int


@dataclass
class Ending:
    """Access that has ended: a membership, or all tokens of a user.

    Until `done`, how far the stream was at its end is not known yet.
    """

    began: float
    #: The last signal or message of the desk's that was sent before.
    number: int | None = None
    #: The head of the room at its end.
    head: int | None = None
    #: When the user began to come in again.
    over: float | None = None


@dataclass(eq=False)
class World:
    """All that is the case, as far as the clients' side can know it."""

    tokens: dict[int, Access] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    servers: list[str] = field(default_factory=list)
    #: Since when a user is a member of a room for certain; nobody else is in here.
    members: dict[tuple[int, str], float] = field(default_factory=dict)
    kicks: dict[tuple[int, str], list[Ending]] = field(default_factory=dict)
    logouts: dict[int, list[Ending]] = field(default_factory=dict)
    #: The number of the last signal or message of the desk's.
    number: int = 0
    #: Every epoch that a stream has had, by its name and for each user.
    epochs: dict[tuple[str, int | None], set[str]] = field(default_factory=dict)
    trails: list["Trail"] = field(default_factory=list)
    history: deque[str] = field(default_factory=lambda: deque(maxlen=2000))
    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _faults: int = 0
    _database_faults: int = 0
    #: From when on the last fault of each kind is over.
    _calm_from: float = 0.0
    _database_from: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.look_at_end)

    async def quiet(self) -> None:
        """Wait until all is done that goes on in the background."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def look_at_end(self, task: asyncio.Task[Any]) -> None:
        """See to it that an error of a task is noticed."""
        if not task.cancelled() and (error := task.exception()):
            self.violated(f"a task failed: {error!r}")
        self.changed()

    def note(self, what: str) -> None:
        """Write into the history."""
        self.history.append(f"{time.monotonic() - self._began:8.3f} {what}")
        self.changed()

    def count(self, what: str, by: int = 1) -> None:
        """Count something for the summary."""
        self.counts[what] = self.counts.get(what, 0) + by

    def violated(self, what: str) -> None:
        """Write down that something does not hold which must."""
        self.note(f"VIOLATION: {what}")
        self.violations.append(what)

    def check(self) -> None:
        """Fail if something did not hold."""
        if self.violations:
            raise AssertionError("\n".join(self.violations[:10]))

    def changed(self) -> None:
        """Let those look again who wait for something."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], within: float | None, what: str) -> bool:
        """Wait until something is the case; it is a violation if that takes too long."""
        try:
            async with asyncio.timeout(within):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            self.violated(f"not within {within:.0f} s: {what}")
            return False
        return True

    # Faults

    @contextlib.contextmanager
    def disturbed(self, database: bool = False) -> Iterator[None]:
        """Let a fault begin, and be over, in which a message that ends access can get lost."""
        self._faults += 1
        self._database_faults += database
        try:
            yield
        finally:
            self._faults -= 1
            self._database_faults -= database
            self._calm_from = time.monotonic() + SETTLE_SECONDS
            if database:
                self._database_from = time.monotonic() + SETTLE_SECONDS

    def is_calm(self, since: float) -> bool:
        """Say whether from a time on there was no fault that was not over before."""
        return not self._faults and since >= self._calm_from

    def database_was_away(self, since: float) -> bool:
        """Say whether the database was away at some time after another."""
        return self._database_faults > 0 or self._database_from >= since

    # Who may

    def is_member(self, user: int, room: str, since: float | None = None) -> bool:
        """Say whether a user is a member for certain, now or since then."""
        joined = self.members.get((user, room))
        return joined is not None and (since is None or joined <= since)

    def endings(self, trail: "Trail") -> Iterator[Ending]:
        """Give the endings that a subscription has to respect."""
        yield from self.kicks.get((trail.user, trail.stream), [])

    def ended(self, ending: Ending, trails: list["Trail"]) -> None:
        """Look at what came before it was known how far the stream was at an ending."""
        for trail in trails:
            for arrived in trail.events:
                if arrived.at >= ending.began:
                    trail.judge(arrived)
            for number, at in trail.waves:
                if at >= ending.began:
                    trail.judge_number(number, at)


@dataclass(eq=False)
class Trail:
    """What one subscription got, from one begin to the next, and what it must not get."""

    world: World
    title: str
    user: int
    stream: str
    position: Position | None = None
    is_open: bool = False
    #: The token with which it was opened.
    access: Access | None = None
    opened_at: float = 0.0
    #: What was asked for and not answered yet.
    asked: deque[Asked] = field(default_factory=deque)
    #: What is asked for the next time, in place of the right position.
    instead: list[Position | None] = field(default_factory=list)
    events: list[Arrived] = field(default_factory=list)
    resets: list[Reset] = field(default_factory=list)
    begins: list[Position] = field(default_factory=list)
    waves: list[tuple[int, float]] = field(default_factory=list)
    #: Who was said to be present, where that was said at the begin.
    present: set[str] | None = None
    #: What was last said of each user since the begin.
    said: dict[str, bool] = field(default_factory=dict)
    #: What must come next, after a begin elsewhere than asked for.
    due: Reset | None = None

    def __post_init__(self) -> None:
        self.world.trails.append(self)

    def ask(self) -> Position | None:
        """Give what to ask for now."""
        position = self.instead.pop() if self.instead else self.position
        self.asked.append(Asked(position, time.monotonic()))
        return position

    def leave(self) -> None:
        """Ask for the end."""
        self.asked.append(Asked(None, time.monotonic(), leaves=True))

    def begin(self, position: Position, access: Access, present: list[str] | None = None) -> None:
        """It begins: where it was asked to, or else a reset must follow at once."""
        self._nothing_due("begins")
        asked = self._answered_by(position)
        if asked is not None and asked != position:
            self.due = Reset(asked, position)
        self.position, self.access, self.is_open = position, access, True
        self.opened_at = time.monotonic()
        self.present = None if present is None else set(present)
        self.said = {}
        self.begins.append(position)
        self.world.note(f"{self.title} begins at {short(position)}, asked {short(asked)}")

    def reset(self, position: Position) -> None:
        """The server jumps."""
        self._must_be_open("a reset")
        if self.due is not None and self.due.after != position:
            self.wrong(f"began at {short(self.due.after)} and is reset to {short(position)}")
        assert self.position is not None
        self.resets.append(self.due or Reset(self.position, position))
        self.due = None
        self.position = position
        self.world.count("resets")
        self.world.note(f"{self.title} is reset to {short(position)}")

    def event(self, seq: int, event: dict[str, Any]) -> None:
        """A stored event: the next one, and nothing that was stored after access ended."""
        self._must_be_open(f"event {seq}")
        self._nothing_due(f"gets event {seq}")
        if self.position is None:
            return
        if seq != self.position.seq + 1:
            self.wrong(f"gets event {seq} after {short(self.position)}")
        self.position = Position(self.position.epoch, seq)
        arrived = Arrived(seq, event, time.monotonic())
        self.events.append(arrived)
        self.world.count("events")
        self.judge(arrived)

    def signal(self, event: dict[str, Any]) -> None:
        """An event that is not stored."""
        self._must_be_open(f"signal {event}")
        self._nothing_due(f"gets signal {event}")
        self.world.count("signals")
        match event["type"]:
            case "news.wave":
                self.waves.append((event["number"], time.monotonic()))
                self.judge_number(*self.waves[-1])
            case "chat.typing":
                if event["user"] == self.world.names[self.user]:
                    self.wrong("is told that its own user types")
            case "chat.presence":
                self.said[event["user"]] = event["online"]
                if self.present is not None:
                    (self.present.add if event["online"] else self.present.discard)(event["user"])
            case other:
                self.wrong(f"gets a signal of the type {other}")

    def end(self, why: object) -> None:
        """It ends; nothing may come any more."""
        if self.is_open:
            self.world.note(f"{self.title} ends: {why}")
        self.is_open = False
        self.present = self.due = None

    def left(self, code: int) -> None:
        """It has ended because it was asked to."""
        self.end(code)
        while self.asked and not self.asked.popleft().leaves:
            pass

    def refused(self, code: int) -> float:
        """It ends without having been asked to; give since when it should not have."""
        if self.is_open:
            # What is asked for meanwhile may still be answered.
            since = self.opened_at
        else:
            since = self.asked.popleft().at if self.asked else time.monotonic()
        self.end(code)
        return since

    def judge(self, arrived: Arrived) -> None:
        """Look whether an event was stored after the access had ended by which it came."""
        for kick in self.world.endings(self):
            if kick.head is not None and arrived.seq > kick.head and before_its_end(kick, arrived):
                what = f"event {arrived.seq}, stored after a kick at {kick.head}"
                self._leaked(kick, what, excused=not STRICT)
        head, _, _ = str(arrived.event.get("text", "")).partition(" ")
        if head.isdigit():
            self._judge_token(int(head))

    def judge_number(self, number: int, at: float) -> None:
        """Look whether a signal was sent after the access had ended by which it came."""
        for kick in self.world.endings(self):
            arrived = Arrived(0, {}, at)
            if kick.number is not None and number > kick.number and before_its_end(kick, arrived):
                self._leaked(kick, f"signal {number}, sent after a kick at {kick.number}")
        self._judge_token(number)

    def wrong(self, what: str) -> None:
        """Write down what must not be."""
        self.world.violated(f"{self.title} {what}")

    def _answered_by(self, position: Position) -> Position | None:
        """Take what a begin answers off the list; of several, the server may skip the first."""
        asked = list(itertools.takewhile(lambda one: not one.leaves, self.asked))
        if not asked:
            self.wrong(f"begins at {short(position)} without having been asked")
            return None
        fitting = [n for n, one in enumerate(asked) if one.position in (None, position)]
        answered = fitting[0] if fitting else 0
        for _ in range(answered + 1):
            self.asked.popleft()
        return asked[answered].position

    def _judge_token(self, number: int) -> None:
        assert self.access is not None
        for logout in self.world.logouts.get(self.user, [])[self.access.number :]:
            if logout.number is not None and number > logout.number:
                self._leaked(logout, f"number {number}, sent after a logout at {logout.number}")

    def _leaked(self, ending: Ending, what: str, excused: bool = True) -> None:
        if self.world.is_calm(ending.began) or not excused:
            self.wrong(f"gets {what}")
        else:
            # What ends access was lost, and the tick has not made good for it yet.
            self.world.count("leaks while disturbed")
            self.world.note(f"{self.title} gets {what}, but there was a fault")

    def _must_be_open(self, what: str) -> None:
        if not self.is_open:
            self.wrong(f"gets {what} while it is not subscribed")

    def _nothing_due(self, what: str) -> None:
        if self.due is not None:
            self.wrong(f"{what}, and no reset after it asked for {short(self.due.before)}")
            self.due = None


def before_its_end(ending: Ending, arrived: Arrived) -> bool:
    """Say whether something arrived before the user began to come in again."""
    return ending.over is None or arrived.at < ending.over


def short(position: Position | None) -> str:
    """Give a position in a few letters."""
    return "now" if position is None else f"{position.epoch[:4]}:{position.seq}"
