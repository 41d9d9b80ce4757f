"""One round of random faults: what happens is drawn from a seed, what comes of it is checked."""

import asyncio
import collections
import contextlib
import json
import random
import re
import time
import uuid
from typing import Any

from .cluster import Cluster, Databases
from .ledger import Ledger
from .model import END_SECONDS, NOWHERE, Access, Ending, Position, Trail, World
from .readers import EventReader, OwnSocket, Reader, SharedSocket
from .servers import Daphne

SERVERS = 2
USERS = 4
ROOMS = ("lobby", "cellar", "attic")
STEPS = 180
# Lines of the history that are shown when something does not hold.
SHOWN = 80
# Seconds between two steps at most, and those of an outage.
STEP_SECONDS = 0.15
OUTAGE_SECONDS = (0.2, 3.0)
# Ticks and buffers that are short and small, so that all of it happens within a minute.
TICK_SECONDS = 2
REPLAY_LIMIT = 100
VARIABLES = {
    "REALTIME_TICK_SECONDS": str(TICK_SECONDS),
    "REALTIME_REPLAY_LIMIT": str(REPLAY_LIMIT),
    "REALTIME_BUFFER_BYTES": str(128 * 1024),
}
# Seconds in which everything must be as it should, once nothing happens any more: a process that
# was killed counts for 20.
QUIET_SECONDS = 90
POLL_SECONDS = 0.3
# Bytes of frames that a process may keep for those who come back.
TAIL_BYTES = 4 * 1024 * 1024
# What a server says of exceptions that nobody has thought of.
UNEXPECTED = re.compile("Exception inside application|Task exception was never retrieved")
# What a server may say of an exception: that the database was away.
DATABASE_WAS_AWAY = re.compile(r"Operational|Interface|server closed|connection to server|terminat")
# What runs in a server that has no connection, and what the question for it brings with it.
IDLE_TASKS = [
    "Hub._repair",
    "Publisher.send_from_here",
    "Receiver._receive",
    "_receive_all",
    "ProtocolTypeRouter.__call__",
    "ASGIHandler.handle.<locals>.process_request",
    "ASGIHandler.listen_for_disconnect",
    "AsyncToSync.main_wrap",
]
# How often each thing happens, relative to the others.
USUAL = {
    "tell": 12,
    "say": 12,
    "wave": 8,
    "speak": 8,
    "type": 5,
    "flood": 1,
    "break_off": 6,
    "close": 3,
    "subscribe": 7,
    "unsubscribe": 5,
    "ask_again": 9,
    "kick": 7,
    "rejoin": 9,
    "log_out": 3,
}
# Of these, some happen in a round and others do not, so that each meets the usual alone as well.
UNUSUAL = {
    "pause": 5,
    "kill_server": 2,
    "stop_server": 2,
    "kill_redis": 1.5,
    "flush_redis": 1.5,
    "cut_redis": 1.5,
    "crash_database": 1,
    "trim": 2,
    "renew": 1.5,
}


class Round:
    """A world, and what happens in it."""

    def __init__(self, seed: int, cluster: Cluster, databases: Databases) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.often = USUAL | {
            name: weight for name, weight in UNUSUAL.items() if self.chance.random() < 0.5
        }
        # Who stops reading has something to leave unread, and has to go on.
        self.often |= dict.fromkeys(["burst", "read_on"], self.often.get("pause", 0))
        self.cluster = cluster
        self.databases = databases
        self.world = World()
        self.readers: list[Reader] = []
        self.paused: list[Reader] = []
        #: Who is a member, as far as it is drawn; it may be under way.
        self.members: set[tuple[int, str]] = set()
        self.locks: dict[Any, asyncio.Lock] = collections.defaultdict(asyncio.Lock)

    async def run(self) -> None:
        """Do it all.

        Raises:
            AssertionError: something did not hold; it says what, and what had happened.
        """
        tasks: list[asyncio.Task[Any]] = []
        try:
            self.world.note(
                f"of the unusual happens: {', '.join(sorted(self.often.keys() & UNUSUAL))}"
            )
            await self.prepare()
            for reader in self.readers:
                tasks.append(asyncio.create_task(reader.run()))
                # It ends only when it is told to.
                tasks[-1].add_done_callback(self.world.look_at_end)
            for _ in range(STEPS):
                await self.step()
            await self.become_quiet()
            await self.look_at_streams()
            await self.look_at_signals()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.look_at_what_is_left()
        except Exception as error:
            unusual = ", ".join(sorted(self.often.keys() & UNUSUAL)) or "nothing"
            history = "\n".join(list(self.world.history)[-SHOWN:])
            raise AssertionError(
                f"seed {self.seed}, with {unusual}: {error}\n\n{history}"
            ) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def prepare(self) -> None:
        """Start servers, and make users, rooms and devices."""
        world, cluster = self.world, self.cluster
        cluster.variables = VARIABLES
        self.daphnes: list[Daphne] = await cluster.start(daphnes=SERVERS)
        world.servers = [daphne.url for daphne in self.daphnes]
        self.host, *people = await cluster.people(1 + USERS)
        self.users = [person.id for person in people]
        for number, person in enumerate(people, 1):
            world.names[person.id] = f"user{number}"
            world.tokens[person.id] = Access(person.token, 0)
        slugs = await cluster.do("make_rooms", owner=self.host.id, names=ROOMS)
        self.rooms = [f"chat/{slug}" for slug in slugs]
        for user in self.users:
            for room in self.rooms:
                if self.chance.random() < 0.7:
                    await self.rejoin_as(user, room)
        for number, user in enumerate(self.users):
            self.readers += self.devices(number, user)
            # The first event makes the stream.
            await self.tell_as(user, 1)
        await self.note_epochs()

    def devices(self, number: int, user: int) -> list[Reader]:
        """Give three devices of a user's, of all forms."""
        shared = self.device(SharedSocket, user, "realtime")
        shared.wanted = set(self.chance.sample(self.rooms, 2))
        room = self.rooms[number % len(self.rooms)]
        over_http = "realtime" if number % 2 else self.chance.choice(self.rooms)
        return [
            shared,
            self.device(OwnSocket, user, room),
            self.device(EventReader, user, over_http),
        ]

    def device(self, kind: type[Any], user: int, stream: str) -> Any:
        """Give a device whose own chances come from the same seed."""
        return kind(self.world, user, stream, random.Random(self.chance.random()))

    def count(self, ledger: Ledger) -> None:
        """Add what came to the counts: of a round that has passed, that is what was due."""
        for reader in self.readers:
            for name, trail in reader.trails.items():
                events = len(trail.events)
                ledger.sent += events
                ledger.received += events
                ledger.subscribed += events if name else 0
                ledger.over_http += events if isinstance(reader, EventReader) else 0
        ledger.recovered(self.recovery)

    # What happens

    async def step(self) -> None:
        """Let one thing happen, and check what has come until now."""
        (name,) = self.chance.choices(list(self.often), list(self.often.values()))
        # Half of it while other things go on.
        beside = self.chance.random() < 0.5
        work = getattr(self, name)()
        if work is not None:
            if beside:
                self.world.later(work)
            else:
                task = asyncio.create_task(work)
                # Some of it waits for the end of an outage, which is a reason to go on.
                await asyncio.wait([task], timeout=1)
                self.world.later(asyncio.wait_for(task, None))
        await asyncio.sleep(self.chance.uniform(0, STEP_SECONDS))
        self.world.check()

    def tell(self) -> Any:
        """Notify somebody."""
        return self.tell_as(self.chance.choice(self.users), self.chance.randint(1, 6))

    async def tell_as(self, user: int, count: int, size: int = 0) -> None:
        """Notify a user of numbers, each followed by so many characters."""
        texts = [f"{number} {'x' * size}" for number in self.numbers(count)]
        self.world.note(f"{count} events to {self.world.names[user]}, {size} characters each")
        await self.cluster.do("tell", user=user, texts=texts)

    def say(self) -> Any:
        """Let the host say something in a room."""
        return self.say_in(self.chance.choice(self.rooms), self.chance.randint(1, 6))

    async def say_in(self, room: str, count: int, size: int = 0) -> None:
        """Let the host say numbers in a room, each followed by so many characters."""
        texts = [f"{number} {'x' * size}" for number in self.numbers(count)]
        self.world.note(f"{count} messages to {room}, {size} characters each")
        await self.cluster.do("say", user=self.host.id, room=slug(room), texts=texts)

    def wave(self) -> Any:
        """Send signals to a room."""
        return self.wave_in(self.chance.choice(self.rooms), self.chance.randint(1, 4))

    async def wave_in(self, room: str, count: int) -> None:
        """Send numbers as signals to a room."""
        self.world.note(f"{count} signals to {room}")
        await self.cluster.do("wave", room=slug(room), numbers=self.numbers(count))

    def speak(self) -> Any:
        """Let a device say something in a room."""
        return self.send_to_room(type="chat.message", text="spoken")

    def type(self) -> Any:
        """Let a device tell that its user types."""
        return self.send_to_room(type="chat.typing")

    def send_to_room(self, **frame: Any) -> Any:
        """Let a device send a frame to a room of its own or of its subscriptions."""
        reader = self.chance.choice([one for one in self.readers if isinstance(one, OwnSocket)])
        room = self.chance.choice(self.rooms)
        if not isinstance(reader, SharedSocket):
            return reader.send(**frame)
        return reader.send(**frame, stream=room) if room in reader.wanted else None

    def burst(self) -> Any:
        """Send more than a device that does not read can leave unread."""
        reader = self.chance.choice(self.paused or self.readers)
        if reader.stream == "realtime":
            return self.tell_as(reader.user, 40, size=12_000)
        return self.say_in(reader.stream, 40, size=12_000)

    def flood(self) -> Any:
        """Send more events to a room than a replay may have."""
        return self.say_in(self.chance.choice(self.rooms), REPLAY_LIMIT + 20)

    def break_off(self) -> Any:
        """Cut a connection."""
        self.chance.choice(self.readers).break_off()

    def close(self) -> Any:
        """Close a connection."""
        return self.chance.choice(self.readers).close()

    def subscribe(self) -> Any:
        """Let a shared socket subscribe to rooms, be it for the second time."""
        rooms = self.chance.sample(self.rooms, self.chance.randint(1, len(self.rooms)))
        return self.shared_socket().subscribe(*rooms)

    def unsubscribe(self) -> Any:
        """Let a shared socket leave rooms, be it that it is not there."""
        return self.shared_socket().unsubscribe(*self.chance.sample(self.rooms, 1))

    def shared_socket(self) -> SharedSocket:
        """Give one of them."""
        return self.chance.choice([one for one in self.readers if isinstance(one, SharedSocket)])

    def ask_again(self) -> Any:
        """Let a device come back with a position that is old, or none of this history."""
        reader = self.chance.choice(self.readers)
        room = self.chance.choice(self.rooms)
        kind = self.chance.choice(["old", "old", "future", "epoch", "nowhere", "now"])
        back, epoch = self.chance.randint(1, 60), str(uuid.UUID(int=self.chance.getrandbits(128)))
        shared = isinstance(reader, SharedSocket) and self.chance.random() < 0.7
        key = room if shared and room in reader.trails else ""
        position = reader.trails[key].position
        if position is None:
            return None
        asked = {
            "old": Position(position.epoch, max(0, position.seq - back)),
            "future": Position(position.epoch, position.seq + 10_000),
            "epoch": Position(epoch, position.seq),
            "nowhere": NOWHERE,
            "now": None,
        }[kind]
        reader.trails[key].instead.append(asked)
        if key:
            return reader.subscribe(room)
        reader.break_off()
        return None

    def pause(self) -> None:
        """Let a device stop reading."""
        reader = self.chance.choice(self.readers)
        if reader not in self.paused and len(self.paused) < 3:
            self.paused.append(reader)
            reader.reads.clear()
            self.world.note(f"{reader.title} stops reading")

    def read_on(self) -> None:
        """Let a device read on."""
        if self.paused:
            reader = self.paused.pop(self.chance.randrange(len(self.paused)))
            reader.reads.set()
            self.world.note(f"{reader.title} reads on")

    def kick(self) -> Any:
        """End a membership."""
        if not self.members:
            return None
        user, room = self.chance.choice(sorted(self.members))
        self.members.discard((user, room))
        return self.kick_as(user, room, self.chance.choice([self.say_in, self.wave_in]))

    async def kick_as(self, user: int, room: str, then: Any) -> None:
        """End a membership, say something that is for the others, and see all of it end."""
        world = self.world
        async with self.locks[user, room]:
            ending = Ending(time.monotonic())
            world.members.pop((user, room), None)
            world.kicks.setdefault((user, room), []).append(ending)
            world.note(f"kick of {world.names[user]} from {room} begins")
            ending.head = await self.cluster.do("kick", user=user, room=slug(room), by=self.host.id)
            ending.number = world.number
            world.note(f"kick of {world.names[user]} from {room} is done at {ending.head}")
            world.ended(ending, self.trails(user, room))
        await then(room, 2)
        world.later(
            world.until(
                lambda: ending.over is not None or not self.trails(user, room, True),
                END_SECONDS,
                f"the end of what {world.names[user]} follows of {room}",
            )
        )

    def rejoin(self) -> Any:
        """Make somebody a member who is none."""
        outside = sorted(
            {(user, room) for user in self.users for room in self.rooms} - self.members
        )
        return self.rejoin_as(*self.chance.choice(outside)) if outside else None

    async def rejoin_as(self, user: int, room: str) -> None:
        """Make a user a member, and let the devices know."""
        world = self.world
        self.members.add((user, room))
        async with self.locks[user, room]:
            for ending in world.kicks.get((user, room), []):
                ending.over = ending.over or time.monotonic()
            await self.cluster.do("join", user=user, room=slug(room))
            world.members[user, room] = time.monotonic()
            world.note(f"{world.names[user]} is a member of {room}")
        for reader in self.readers:
            if reader.user == user and isinstance(reader, SharedSocket):
                await reader.rejoin(room)

    def log_out(self) -> Any:
        """End all tokens of a user, who gets a new one."""
        return self.log_out_as(self.chance.choice(self.users))

    async def log_out_as(self, user: int) -> None:
        """End all tokens of a user, tell something that is for new ones, and see all of it end."""
        world = self.world
        async with self.locks[user]:
            ending = Ending(time.monotonic())
            world.logouts.setdefault(user, []).append(ending)
            world.note(f"logout of {world.names[user]} begins")
            token = await self.cluster.do("log_out", user=user)
            ending.number = world.number
            world.tokens[user] = Access(token, len(world.logouts[user]))
            world.note(f"logout of {world.names[user]} is done")
            world.ended(ending, self.trails(user))
            number = world.tokens[user].number
        await self.tell_as(user, 2)
        world.later(
            world.until(
                lambda: all(trail.access.number >= number for trail in self.trails(user, "", True)),
                END_SECONDS,
                f"the end of what {world.names[user]} follows by an old token",
            )
        )

    def kill_server(self) -> Any:
        """Kill a server, and start it again."""
        daphne = self.chance.choice(self.daphnes)
        return self.restart(daphne, daphne.kill, self.chance.uniform(*OUTAGE_SECONDS))

    def stop_server(self) -> Any:
        """Stop a server as a deployment does, and start it again."""
        daphne = self.chance.choice(self.daphnes)
        return self.restart(daphne, daphne.stop, self.chance.uniform(*OUTAGE_SECONDS))

    def kill_redis(self) -> Any:
        """Kill Redis, and start it again."""
        redis = self.cluster.redis
        return self.outage(redis, redis.kill, self.chance.uniform(*OUTAGE_SECONDS))

    def crash_database(self) -> Any:
        """Let PostgreSQL crash, and start it again."""
        server = self.databases.server
        return self.outage(server, server.crash, self.chance.uniform(*OUTAGE_SECONDS), True)

    async def outage(self, process: Any, end: Any, seconds: float, database: bool = False) -> None:
        """Let Redis or PostgreSQL be away for a while."""
        with self.world.disturbed(database):
            await self.restart(process, end, seconds)

    async def restart(self, process: Any, end: Any, seconds: float) -> None:
        """End a process, and start it again after a while."""
        async with self.locks[process]:
            self.world.count(end.__name__ + " " + process.name.partition("-")[0])
            self.world.note(f"{end.__name__} {process.name}")
            await asyncio.to_thread(end)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(process.start)
            self.world.note(f"{process.name} is back")

    def flush_redis(self) -> Any:
        """Delete everything that Redis holds."""
        return self.ask_redis("FLUSHALL")

    async def cut_redis(self) -> None:
        """Cut all connections over which the servers hear."""
        with self.world.disturbed():
            await self.ask_redis("CLIENT KILL TYPE pubsub")

    async def ask_redis(self, command: str) -> None:
        """Send Redis a command, if it is there."""
        self.world.note(command)
        with contextlib.suppress(OSError, RuntimeError):
            await asyncio.to_thread(self.cluster.redis.ask, command)

    async def trim(self) -> None:
        """Delete old events."""
        self.world.note("all streams are trimmed")
        await self.cluster.do("trim", entries=30)

    async def renew(self) -> None:
        """Begin new histories."""
        self.world.note("all streams get a new epoch")
        await self.cluster.do("renew")
        await self.note_epochs()

    # What must hold in the end

    async def become_quiet(self) -> None:
        """Let nothing happen any more, and wait until all is as it should be."""
        for reader in self.readers:
            reader.reads.set()
        self.world.note("nothing happens any more")
        began = time.monotonic()
        await self.world.quiet()
        self.world.check()
        await self.settled()
        self.recovery = time.monotonic() - began

    async def settled(self) -> None:
        """Wait until all clients and all rows are as the database says."""
        until = time.monotonic() + QUIET_SECONDS
        while (wrong := await self.unsettled()) and time.monotonic() < until:
            self.world.check()
            await asyncio.sleep(POLL_SECONDS)
        for what in wrong:
            self.world.violated(f"not within {QUIET_SECONDS} s: {what}")
        self.world.check()

    async def unsettled(self) -> list[str]:
        """Say what is not as it should be."""
        streams = {(stream["name"], stream["user"]): stream for stream in await self.streams()}
        rows = await self.cluster.do("sessions")
        held = [await self.holdings(daphne) for daphne in self.daphnes]
        wrong = []
        expected: collections.Counter[tuple[int, str, bool]] = collections.Counter()
        present: dict[str, set[str]] = collections.defaultdict(set)
        for reader in self.readers:
            for trail in reader.streams():
                stream = streams[key_of(trail)]
                head = Position(stream["epoch"], stream["head"])
                if not trail.is_open or trail.position != head or trail.due:
                    wrong.append(
                        f"{trail.title} is open={trail.is_open} at {trail.position}, due "
                        f"{trail.due}: the head is {head}"
                    )
                present[trail.stream].add(self.world.names[reader.user])
                if trail is reader.trail or trail.stream in self.rooms:
                    expected[reader.user, stream["group"], trail is reader.trail] += 1
        for trail in self.world.trails:
            if trail.is_open and trail.stream in self.rooms:
                others = present[trail.stream]
                if trail.present is not None and trail.present != others:
                    wrong.append(f"{trail.title} sees {trail.present}: present are {others}")
                for name, online in trail.said.items():
                    if online != (name in others):
                        wrong.append(f"{trail.title} heard {name} {online}: present are {others}")
        found = collections.Counter(
            (user, group, is_socket) for _, user, group, is_socket in rows["connections"]
        )
        if found != expected:
            wrong.append(f"rows too many {found - expected}, missing {expected - found}")
        living = {one["session"] for one in held if one["connections"]}
        if set(rows["processes"]) != living:
            wrong.append(f"rows of the processes {rows['processes']}: there are {living}")
        return wrong

    async def look_at_streams(self) -> None:
        """Compare all that has come with the database."""
        streams = {
            (stream["name"], stream["user"]): stream for stream in await self.streams(entries=True)
        }
        for trail in self.world.trails:
            stream = streams[key_of(trail)]
            stored = (
                {event.pop("seq"): event for event in stream["events"]}
                if ("stored" not in stream)
                else stream["stored"]
            )
            stream["stored"] = stored
            for seq, event, _ in trail.events:
                if seq > stream["head"] or (seq > stream["trimmed"] and stored[seq] != event):
                    trail.wrong(
                        f"got {seq} {str(event)[:80]}: stored is {str(stored.get(seq))[:80]}"
                    )
            epochs = self.world.epochs[key_of(trail)]
            for position in trail.begins:
                if position.epoch not in epochs or position.seq > stream["head"]:
                    trail.wrong(f"began at {position}, which has never been")
            for before, after in trail.resets:
                if not is_due(before, after, epochs, stream["trimmed"]):
                    trail.wrong(f"was reset from {before} to {after}, trimmed {stream['trimmed']}")
        self.world.check()

    async def look_at_signals(self) -> None:
        """Everybody hears of the next event and the next signal."""
        world = self.world
        for user in self.users:
            await self.tell_as(user, 1)
        for room in self.rooms:
            await self.say_in(room, 1)
        first = world.number
        heard: list[Trail] = []
        until = time.monotonic() + QUIET_SECONDS
        trails = [
            trail
            for reader in self.readers
            for trail in reader.streams()
            if trail.stream in self.rooms
        ]
        while len(heard) < len(trails) and time.monotonic() < until:
            # Signals may get lost, but not for ever.
            for room in self.rooms:
                await self.wave_in(room, 1)
            await asyncio.sleep(POLL_SECONDS)
            heard = [trail for trail in trails if trail.waves and trail.waves[-1][0] > first]
        for trail in set(trails) - set(heard):
            trail.wrong("hears no signals")
        await self.settled()

    async def look_at_what_is_left(self) -> None:
        """No row, task or object of an ended connection remains."""
        until = time.monotonic() + QUIET_SECONDS
        while (wrong := await self.left()) and time.monotonic() < until:
            await asyncio.sleep(POLL_SECONDS)
        for what in wrong:
            self.world.violated(f"left: {what}")
        self.world.check()
        await asyncio.gather(*(asyncio.to_thread(daphne.stop) for daphne in self.daphnes))
        rows = await self.cluster.do("sessions")
        if rows["connections"] or rows["processes"]:
            self.world.violated(f"left after the end of all servers: {rows}")
        for daphne in self.daphnes:
            for line in daphne.log.read_text(errors="replace").splitlines():
                is_allowed = "Exception inside" in line and DATABASE_WAS_AWAY.search(line)
                if UNEXPECTED.search(line) and not is_allowed:
                    self.world.violated(f"{daphne.name} wrote: {line}")
        self.world.check()

    async def left(self) -> list[str]:
        """Say what remains of connections that have ended."""
        wrong = []
        rows = (await self.cluster.do("sessions"))["connections"]
        if rows:
            wrong.append(f"rows {rows}")
        for daphne in self.daphnes:
            held = await self.holdings(daphne)
            wrong += [
                f"{name} of {daphne.name}: {held[name]}"
                for name in ("feeds", "connections", "sessions", "objects")
                if held[name]
            ]
            if held["tail"] > TAIL_BYTES:
                wrong.append(f"{held['tail']} bytes of frames in {daphne.name}")
            tasks = collections.Counter(held["tasks"]) - collections.Counter(IDLE_TASKS)
            if tasks:
                wrong.append(f"tasks of {daphne.name}: {tasks}")
        return wrong

    # Asking

    def trails(self, user: int, stream: str = "", reading: bool = False) -> list[Trail]:
        """Give the trails of a user, of one stream or of all; or the open ones that are read."""
        return [
            trail
            for reader in self.readers
            if reader.user == user and (not reading or reader.reads.is_set())
            for trail in reader.trails.values()
            if stream in ("", trail.stream) and (not reading or trail.is_open)
        ]

    def numbers(self, count: int) -> list[int]:
        """Give the next numbers of signals and messages."""
        self.world.number += count
        return list(range(self.world.number - count + 1, self.world.number + 1))

    async def streams(self, entries: bool = False) -> list[dict[str, Any]]:
        """Ask the database for all streams."""
        rooms = [slug(room) for room in self.rooms]
        return await self.cluster.do("streams", users=self.users, rooms=rooms, entries=entries)

    async def note_epochs(self) -> None:
        """Keep in mind which epochs there have been."""
        for stream in await self.streams():
            key = (stream["name"], stream["user"])
            self.world.epochs.setdefault(key, set()).add(stream["epoch"])

    async def holdings(self, daphne: Daphne) -> dict[str, Any]:
        """Ask a server what it holds."""
        status, body = await asyncio.to_thread(daphne.request, "GET", "/newsroom/holdings/")
        assert status == 200, body
        return json.loads(body)


def key_of(trail: Trail) -> tuple[str, int | None]:
    """Give what names a trail's stream among all: user streams share a name."""
    return trail.stream, trail.user if trail.stream == "realtime" else None


def is_due(before: Position, after: Position, epochs: set[str], trimmed: int) -> bool:
    """Say whether a reset had a reason: another history, or a position that is not there."""
    if after.epoch not in epochs:
        return False
    if before.epoch != after.epoch:
        return before.epoch not in epochs or len(epochs) > 1
    is_gone = before.seq < trimmed or before.seq > after.seq
    return is_gone or after.seq - before.seq > REPLAY_LIMIT


def slug(room: str) -> str:
    """Give the slug of a room's stream."""
    return room.removeprefix("chat/")
