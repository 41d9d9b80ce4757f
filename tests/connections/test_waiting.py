"""Clients that wait for events over HTTP, on a real server: long-polls and event streams."""

import asyncio
import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ..faults.cluster import Cluster
from ..faults.servers import Daphne
from .test_limits import GROWTH_BYTES, resident_bytes

pytestmark = pytest.mark.xdist_group("connections")

PATIENCE_SECONDS = 30
WAITING = 200
# What a client is sent that does not read: many times what a server may keep for it.
UNREAD_BYTES = 60_000


class Waiter:
    """A client of an event stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def lines(self, start: str) -> str:
        """Return the rest of the next line that begins so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := await self.reader.readline():
                text = line.decode().rstrip("\r\n")
                if text.startswith(start):
                    return text.removeprefix(start)
        raise EOFError(start)


async def leave(*clients: Waiter) -> None:
    """Cut the connections of clients."""
    for client in clients:
        client.writer.transport.abort()
    for client in clients:
        with suppress(ConnectionError):
            await client.writer.wait_closed()


async def waiting(daphne: Daphne, token: str, query: str = "") -> Waiter:
    """Open an event stream, and return it once it has begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daphne.port)
    writer.write(
        f"GET /api/streams/realtime/{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    client = Waiter(reader, writer)
    assert await client.lines("HTTP/1.1 ") == "200 OK"
    assert '"realtime.ready"' in await client.lines("data: ")
    return client


def threads(daphne: Daphne) -> int:
    """Count the threads of a server."""
    assert daphne.running is not None
    return len(list(Path(f"/proc/{daphne.running.pid}/task").iterdir()))


async def test_whoever_waits_takes_no_thread(cluster: Cluster) -> None:
    """Two hundred event streams and long-polls hold no more threads than none, and all hear."""
    (daphne,) = await cluster.start()
    people = await cluster.people(WAITING // 10)
    before = threads(daphne)
    clients = [await waiting(daphne, person.token) for person in people for _ in range(9)]
    polls = [
        asyncio.to_thread(
            daphne.request, "GET", "/api/streams/realtime/?since=0&wait=60", person.token
        )
        for person in people
    ]
    answers = asyncio.gather(*polls)
    # Eight of them serve the database.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while threads(daphne) > before + 10:
            await asyncio.sleep(0.1)

    await cluster.do("burst", users=[person.id for person in people], count=len(people))

    for client in clients:
        assert json.loads(await client.lines("data: "))["seq"] == 1
    for status, body in await answers:
        assert status == 200
        assert [event["seq"] for event in json.loads(body)["events"]] == [1]
    await leave(*clients)


async def test_a_client_that_does_not_read_is_dropped(cluster: Cluster) -> None:
    """What waits for it is bounded, in the application and in the server."""
    (daphne,) = await cluster.start()
    deaf, other = await cluster.people(2)
    reader, writer = await asyncio.open_connection(sock=small_socket(daphne.port), limit=2**10)
    writer.write(
        b"GET /api/streams/realtime/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
        + f"Authorization: Bearer {deaf.token}\r\n\r\n".encode()
    )
    await reader.readuntil(b"realtime.ready")
    hears = await waiting(daphne, other.token)
    await cluster.do("burst", users=[other.id], count=1)
    await hears.lines("data: ")
    before = resident_bytes(daphne)

    await cluster.do("burst", users=[deaf.id], count=300, text_bytes=UNREAD_BYTES)

    async with asyncio.timeout(PATIENCE_SECONDS):
        while "reads an answer too slowly" not in daphne.log.read_text():
            await asyncio.sleep(0.1)
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await reader.read(2**16):
                pass
    assert resident_bytes(daphne) - before < 4 * GROWTH_BYTES
    await cluster.do("burst", users=[other.id], count=1)
    assert json.loads(await hears.lines("data: "))["seq"] == 2
    await leave(hears, Waiter(reader, writer))


def small_socket(port: int) -> socket.socket:
    """Return a connection whose own side buffers little."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.setblocking(False)
    return connection


async def test_a_server_that_stops_says_so(cluster: Cluster) -> None:
    """The stream ends with 4412, and the server need not wait for its clients."""
    (daphne,) = await cluster.start()
    (person,) = await cluster.people(1)
    clients = [await waiting(daphne, person.token) for _ in range(5)]
    assert daphne.running is not None

    began = time.monotonic()
    os.kill(daphne.running.pid, signal.SIGTERM)

    for client in clients:
        await client.lines("event: close")
        assert json.loads(await client.lines("data: "))["code"] == 4412
    await asyncio.to_thread(daphne.running.wait, PATIENCE_SECONDS)
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    await leave(*clients)


async def test_a_client_that_goes_leaves_nothing(cluster: Cluster) -> None:
    """Whoever cuts the connection does not count any more."""
    (daphne,) = await cluster.start()
    (person,) = await cluster.people(1)
    for _ in range(3):
        clients = [await waiting(daphne, person.token) for _ in range(10)]
        await leave(*clients)
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Until there is room again, which a row that was left would take for good.
            while True:
                try:
                    await leave(await waiting(daphne, person.token))
                    break
                except AssertionError:
                    await asyncio.sleep(0.1)
