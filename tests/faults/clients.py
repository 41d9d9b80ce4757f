"""Clients as the protocol describes them, which keep a record of all that they receive."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

import websockets
from websockets.asyncio.client import ClientConnection

from .events import Event, EventSource, RefusedAnswer

# What these close codes call for: a connection is pointless until something else changes.
FINAL_CODES = {4400, 4401, 4403, 4404}
# Seconds between two attempts: short, so that the server's part of a recovery is what is measured.
RETRY_SECONDS = (0.05, 0.4)
OPEN_TIMEOUT_SECONDS = 30


def connect(url: str, **options: Any) -> websockets.connect:
    """Open a socket that sends no pings and holds one frame, so that the server feels who reads."""
    return websockets.connect(
        url,
        compression=None,
        ping_interval=None,
        proxy=None,
        open_timeout=OPEN_TIMEOUT_SECONDS,
        close_timeout=1,
        max_queue=1,
        **options,
    )


class Person(NamedTuple):
    """A user of the project."""

    id: int
    token: str


class Received(NamedTuple):
    """A durable event as a client received it."""

    epoch: str
    seq: int
    number: int


@dataclass(eq=False)
class Client:
    """One device of a person: it stays connected, and resumes from where it was.

    Its record is what the network brought, not what a client would show: it drops no duplicate.
    """

    person: Person
    servers: Sequence[str]
    path: str = "/ws/realtime/"
    #: The name by which it subscribes; without one it takes the stream of the path.
    stream: str | None = None
    #: Whether it reads the stream as Server-Sent Events, and has no socket.
    over_http: bool = False
    epoch: str | None = None
    seq: int | None = None
    #: The position at which the record begins.
    start: int | None = None
    record: list[Received] = field(default_factory=list)
    #: Seconds between the sending of each event and its arrival.
    delays: list[float] = field(default_factory=list)
    #: Frames without `seq`: the protocol's own, resets among them, and signals.
    others: list[dict[str, Any]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    connections: int = 0
    connection: ClientConnection | EventSource | None = None
    #: After so many events it stops reading, until it is told to read on.
    pause_at: int | None = None
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.reads.set()

    async def run(self) -> None:
        """Stay connected until cancelled, or until the server says that there is no point."""
        for attempt in itertools.count(random.randrange(len(self.servers))):
            try:
                connect = self._ask_once if self.over_http else self._connect_once
                await connect(self.servers[attempt % len(self.servers)])
            except (OSError, EOFError, TimeoutError, websockets.WebSocketException):
                pass  # Nobody there, or somebody who dies during the handshake.
            finally:
                self.connection = None
            if self.codes and self.codes[-1] in FINAL_CODES:
                return
            await asyncio.sleep(random.uniform(*RETRY_SECONDS))

    async def reached(self, seq: int, epoch: str | None = None) -> None:
        """Wait until the client has been brought up to a position."""
        await self.until(
            lambda: (
                self.seq is not None and self.seq >= seq and (epoch is None or self.epoch == epoch)
            )
        )

    async def until(self, condition: Any) -> None:
        """Wait until a condition about this client holds; it is looked at after each frame."""
        while not condition():
            await self._moved.wait()

    def read_on(self) -> None:
        """Go on reading after a pause."""
        self.pause_at = None
        self.reads.set()

    async def send(self, **frame: Any) -> None:
        """Send a frame over the connection that is open now."""
        assert isinstance(self.connection, ClientConnection)
        await self.connection.send(json.dumps(frame))

    def break_off(self) -> None:
        """Cut the connection without a word, as a phone does that leaves the network."""
        if self.connection is not None:
            self.connection.transport.abort()

    @property
    def resets(self) -> list[dict[str, Any]]:
        """The resets that were received, in order."""
        return [frame for frame in self.others if frame["type"] == "realtime.reset"]

    async def _connect_once(self, server: str) -> None:
        position = {} if self.seq is None else {"since": self.seq, "epoch": self.epoch}
        query = urlencode({"token": self.person.token} | ({} if self.stream else position))
        subscribe = {
            "type": "realtime.subscribe",
            "streams": [{"stream": self.stream, **position}],
        }
        async with connect(f"{server}{self.path}?{query}") as connection:
            self.connection = connection
            self.connections += 1
            try:
                if self.stream:
                    await self.send(**subscribe)
                while True:
                    await self.reads.wait()
                    frame = json.loads(await connection.recv())
                    if frame.get("stream") == self.stream:
                        self._take(frame)
            except websockets.ConnectionClosed as closed:
                # Without a close frame it is what RFC 6455 calls 1006.
                self.codes.append(closed.rcvd.code if closed.rcvd else 1006)
            finally:
                self._announce()

    async def _ask_once(self, server: str) -> None:
        name = self.path.removeprefix("/ws/").strip("/")
        position = "" if self.seq is None else f"{self.epoch}:{self.seq}"
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                source = await EventSource.open(server, name, self.person.token, position)
        except RefusedAnswer as refused:
            self.codes.append(refused.code)
            self._announce()
            return
        self.connection = source
        self.connections += 1
        try:
            self.codes.append(await source.read(self.reads, self._take_event))
        finally:
            self._announce()

    def _take_event(self, event: Event) -> None:
        self._take(event.data)
        assert event.id == (f"{self.epoch}:{self.seq}" if "seq" in event.data else "")

    def _take(self, frame: dict[str, Any]) -> None:
        seq = frame.get("seq")
        if frame.get("type") in ("realtime.ready", "realtime.subscribed", "realtime.reset"):
            self.others.append(frame)
            self.epoch, self.seq = frame["epoch"], seq
            if self.start is None:
                self.start = seq
        elif seq is None:
            self.others.append(frame)
        else:
            self.seq = seq
            self.record.append(Received(str(self.epoch), seq, frame["number"]))
            self.delays.append(time.time() - frame["at"])
            if len(self.record) == self.pause_at:
                self.reads.clear()
        self._announce()

    def _announce(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


class Clients:
    """Many clients that run together."""

    def __init__(self, members: Iterable[Client]) -> None:
        self.members = list(members)
        # A third each: on a socket of its own, as one of many on a socket, and without a socket.
        for client in self.members[1::3]:
            if client.path == "/ws/realtime/":
                client.stream = "realtime"
        for client in self.members[2::3]:
            if client.path == "/ws/realtime/":
                client.over_http = True

    async def __aenter__(self) -> "Clients":
        self._tasks = [asyncio.create_task(client.run()) for client in self.members]
        async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
            for client in self.members:
                await client.until(lambda client=client: client.start is not None)
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __iter__(self) -> Any:
        return iter(self.members)

    async def caught_up(
        self, heads: Mapping[int, int], within: float, epoch: str | None = None
    ) -> float:
        """Wait until every client has reached the head of its person's stream.

        Args:
            heads: the last sequence number for each user id.
            within: how many seconds to wait at most; the record then shows what is missing.
            epoch: the history that it must be in, any if nothing is said.

        Returns:
            How many seconds it took.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(within):
                for client in self.members:
                    await client.reached(heads.get(client.person.id, 0), epoch)
        except TimeoutError:
            pass
        return time.monotonic() - began
