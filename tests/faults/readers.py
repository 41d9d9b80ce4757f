"""The clients of the random faults: three forms of devices, each obeying the close codes."""

import asyncio
import contextlib
import json
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import websockets
from websockets.asyncio.client import ClientConnection

from .clients import OPEN_TIMEOUT_SECONDS, connect
from .events import Event, EventSource, RefusedAnswer
from .model import END_SECONDS, Access, Position, Trail, World

RETRY_SECONDS = (0.05, 0.5)
# Bytes: small, so that a client that does not read is soon felt by the server, whose own buffer in
# the system grows with the size of a segment.
RECEIVE_BUFFER = 16 * 1024
SEGMENT = 1200
# What is never right to get from a server that is well.
UNDUE_CODES = {4400, 4404, 4413}


class Reader(ABC):
    """A device of a user's, which stays connected and resumes from where it was."""

    form = ""

    def __init__(self, world: World, user: int, stream: str, chance: random.Random) -> None:
        self.world = world
        self.user = user
        self.stream = stream
        self.chance = chance
        self.title = f"{world.names[user]}'s {self.form}"
        self.trails: dict[str, Trail] = {}
        self.trail = self.follow(stream)
        self.access: Access | None = None
        self.connection: ClientConnection | EventSource | None = None
        self.reads = asyncio.Event()
        self.reads.set()

    def follow(self, stream: str, key: str = "") -> Trail:
        """Begin to keep what comes of a stream; frames name it by the key."""
        trail = Trail(self.world, f"{self.title} {stream}", self.user, stream)
        self.trails[key] = trail
        return trail

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            began = time.monotonic()
            self.access = self.world.tokens[self.user]
            server = self.chance.choice(self.world.servers)
            try:
                code = await self.connect(server)
            except (OSError, EOFError, TimeoutError, websockets.WebSocketException):
                code = 1006  # Nobody there, or somebody who dies.
            finally:
                self.connection = None
            for trail in self.trails.values():
                trail.end(code)
                trail.asked.clear()
            self.world.note(f"{self.title} is closed by {server[-5:]} with {code}")
            self.world.count(f"closed {code}")
            await self.obey(code, began)

    async def obey(self, code: int, began: float) -> None:
        """Do what a close code calls for, and say whether it was right to send it."""
        world = self.world
        if code in UNDUE_CODES or (code == 1011 and not world.database_was_away(began)):
            self.trail.wrong(f"is closed with {code}")
        if code == 4401:
            await self.wait_for_token()
        elif code == 4403:
            await self.wait_for_room(self.trail, began)
        await asyncio.sleep(self.chance.uniform(*RETRY_SECONDS))

    async def wait_for_token(self) -> None:
        """Go on with a new token, of which there must be one soon."""
        world, access = self.world, self.access
        assert access is not None
        # Each logout has ended one token.
        if len(world.logouts.get(self.user, [])) <= access.number:
            self.trail.wrong("is closed with 4401 though its token is good")
        await world.until(
            lambda: world.tokens[self.user].number > access.number, END_SECONDS, "a new token"
        )

    async def wait_for_room(self, trail: Trail, since: float) -> None:
        """Go on when the user is a member again."""
        room = trail.stream
        if self.world.is_member(self.user, room, since):
            trail.wrong("is refused though its user is a member")
        # It may be never.
        await self.world.until(lambda: self.world.is_member(self.user, room), None, "a member")

    @abstractmethod
    async def connect(self, server: str) -> int:
        """Connect, read until the end, and return the close code."""

    def streams(self) -> list[Trail]:
        """Give what it follows, as far as its user may."""
        return [self.trail] if self.may_follow(self.trail) else []

    def may_follow(self, trail: Trail) -> bool:
        """Say whether its user may follow a stream."""
        return trail.stream == "realtime" or self.world.is_member(self.user, trail.stream)

    # What happens to it

    def break_off(self) -> None:
        """Cut the connection without a word."""
        if self.connection is not None:
            self.connection.transport.abort()

    async def close(self) -> None:
        """Close the connection in good order."""
        if self.connection is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.connection.close()

    def ask_again(self, key: str, position: Position | None) -> None:
        """Come back with another position than the right one."""
        self.trails[key].instead.append(position)
        self.break_off()

    def take(self, frame: dict[str, Any]) -> None:
        """Take one frame."""
        trail = self.trails.get(frame.pop("stream", ""))
        kind = frame["type"]
        assert self.access is not None
        if kind == "realtime.error":
            self.take_error(frame)
        elif trail is None:
            self.trail.wrong(f"gets a frame of a stream that it never asked for: {frame}")
        elif kind in ("realtime.ready", "realtime.subscribed"):
            position = Position(frame["epoch"], frame["seq"])
            trail.begin(position, self.access, frame.get("present"))
        elif kind == "realtime.reset":
            trail.reset(Position(frame["epoch"], frame["seq"]))
        elif kind == "realtime.unsubscribed":
            self.take_end(trail, frame["code"])
        elif "seq" in frame:
            trail.event(frame.pop("seq"), frame)
        else:
            trail.signal(frame)
        self.world.changed()

    def take_error(self, frame: dict[str, Any]) -> None:
        """A frame could not be used: right only where the stream or the database is gone."""
        self.world.note(f"{self.title} gets {frame}")
        if frame["code"] == "busy":
            self.break_off()
        elif frame["code"] != "not_subscribed":
            self.trail.wrong(f"gets {frame}")

    def take_end(self, trail: Trail, code: int) -> None:
        """A subscription has ended."""
        self.trail.wrong(f"is told of the end of {trail.stream}")


class OwnSocket(Reader):
    """A socket that carries one stream, and frames to it."""

    form = "socket"

    async def connect(self, server: str) -> int:
        """Connect to the stream's own path."""
        async with socket_to(self, server, f"/ws/{self.stream}/", self.trail.ask()) as connection:
            return await self.read(connection)

    async def read(self, connection: ClientConnection) -> int:
        """Take frames until the end; give the close code."""
        try:
            while True:
                await self.reads.wait()
                self.take(json.loads(await connection.recv()))
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    async def send(self, **frame: Any) -> None:
        """Send a frame, if there is a connection."""
        if isinstance(self.connection, ClientConnection):
            with contextlib.suppress(websockets.ConnectionClosed, TimeoutError):
                async with asyncio.timeout(1):
                    await self.connection.send(json.dumps(frame))


class SharedSocket(OwnSocket):
    """The socket of a user's own events, which carries rooms as well."""

    form = "shared socket"

    def __init__(self, world: World, user: int, stream: str, chance: random.Random) -> None:
        super().__init__(world, user, stream, chance)
        #: What it wants to be subscribed to.
        self.wanted: set[str] = set()

    async def connect(self, server: str) -> int:
        """Connect, and subscribe to everything that is wanted."""
        async with socket_to(self, server, "/ws/realtime/", self.trail.ask()) as connection:
            await self.subscribe(*sorted(self.wanted))
            return await self.read(connection)

    async def subscribe(self, *names: str) -> None:
        """Want streams, and say so if there is a connection."""
        self.wanted.update(names)
        if self.connection is None or not names:
            return
        streams = []
        for name in names:
            trail = self.trails.get(name) or self.follow(name, name)
            asked = trail.ask()
            position = {} if asked is None else {"since": asked.seq, "epoch": asked.epoch}
            streams.append({"stream": name, **position})
        await self.send(type="realtime.subscribe", streams=streams)

    async def unsubscribe(self, *names: str) -> None:
        """Want streams no more."""
        self.wanted.difference_update(names)
        if self.connection is None or not names:
            return
        for name in names:
            (self.trails.get(name) or self.follow(name, name)).leave()
        await self.send(type="realtime.unsubscribe", streams=list(names))

    async def rejoin(self, name: str, seconds: float = 0) -> None:
        """Subscribe again, after some seconds, to what its user may follow again."""
        await asyncio.sleep(seconds)
        trail = self.trails.get(name)
        if name in self.wanted and (trail is None or not trail.is_open):
            await self.subscribe(name)

    def streams(self) -> list[Trail]:
        """Give what it follows, as far as its user may."""
        rooms = [self.trails[name] for name in self.wanted if name in self.trails]
        return [self.trail, *filter(self.may_follow, rooms)]

    def take_end(self, trail: Trail, code: int) -> None:
        """Asked for, or withdrawn; then it may be there again by now."""
        self.world.count(f"unsubscribed {code}")
        if code == 1000:
            trail.left(code)
            return
        since = trail.refused(code)
        if code == 4403:
            if self.world.is_member(self.user, trail.stream, since):
                trail.wrong("is withdrawn though its user is a member")
            elif self.world.is_member(self.user, trail.stream):
                self.world.later(self.rejoin(trail.stream))
        elif code == 1011 and self.world.database_was_away(since):
            self.world.later(self.rejoin(trail.stream, self.chance.uniform(*RETRY_SECONDS)))
        else:
            trail.wrong(f"ends with {code}")


class EventReader(Reader):
    """A client without a socket: Server-Sent Events."""

    form = "event source"

    async def connect(self, server: str) -> int:
        """Ask for the stream, and read until the answer ends."""
        asked = self.trail.ask()
        position = "" if asked is None else f"{asked.epoch}:{asked.seq}"
        assert self.access is not None
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                sock = await narrow_socket(server)
                source = await EventSource.open(
                    server, self.stream, self.access.token, position, sock=sock
                )
        except RefusedAnswer as refused:
            return refused.code
        self.connection = source
        return await source.read(self.reads, self.take_event)

    def take_event(self, event: Event) -> None:
        """Take one event, whose id is the position that it leads to."""
        expected = "seq" in event.data
        self.take(event.data)
        position = self.trail.position
        if event.id != (f"{position.epoch}:{position.seq}" if expected else ""):
            self.trail.wrong(f"gets the id {event.id} at {position}")


@contextlib.asynccontextmanager
async def socket_to(
    reader: Reader, server: str, path: str, asked: Position | None
) -> AsyncIterator[ClientConnection]:
    """Give an open socket, which is the reader's connection meanwhile."""
    assert reader.access is not None
    position = {} if asked is None else {"since": asked.seq, "epoch": asked.epoch}
    query = urlencode({"token": reader.access.token, **position})
    async with connect(f"{server}{path}?{query}", sock=await narrow_socket(server)) as connection:
        reader.connection = connection
        yield connection


async def narrow_socket(server: str) -> socket.socket:
    """Give a connected socket that takes little before it is read."""
    address = urlsplit(server)
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (address.hostname, address.port))
    except BaseException:
        made.close()
        raise
    return made
