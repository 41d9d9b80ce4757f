"""One client that takes or sends without measure: it is cut off, and nobody else notices."""

import asyncio
import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from ..faults.clients import Person
from ..faults.cluster import Cluster
from ..faults.servers import Daphne
from .sockets import close_code, ready

pytestmark = pytest.mark.xdist_group("connections")

# By how much a server may grow: 4 MiB of the latest frames, 1 MiB that a client has not read, and
# what one read of Redis brings.
GROWTH_BYTES = 12 * 1024 * 1024
SIGN_INS = 60
# Two hashes of 100 MB, and the sixty threads that wait for theirs.
HASHING_BYTES = 400 * 1024 * 1024
# What an answer to somebody else may take meanwhile, on a machine that is busy with the tests.
DELAY_SECONDS = 2.0
FLOOD_FRAMES = 20_000
# A message begins, and then come pieces of it, or pings, whose payload the server must send back.
BEGIN = b"\x01\x80" + bytes(4)
FLOODS = {
    "messages": b"\x80\x99" + bytes(4) + b'{"type": "realtime.ping"}' + BEGIN,
    "fragments": b"\x00\x80" + bytes(4),
    "pings": b"\x89\xfd" + bytes(4 + 125),
}


def resident_bytes(daphne: Daphne) -> int:
    """Return how much memory a server holds."""
    assert daphne.running is not None
    status = Path(f"/proc/{daphne.running.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


class Watch:
    """Looks, again and again, how long an answer takes and how large the server is."""

    def __init__(self, daphne: Daphne, connection: ClientConnection) -> None:
        self.daphne = daphne
        self.connection = connection
        self.delays: list[float] = []
        self.before = self.largest = resident_bytes(daphne)

    async def __aenter__(self) -> "Watch":
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def check(self) -> None:
        """Hold the answers to their limit."""
        assert self.delays
        assert max(self.delays) < DELAY_SECONDS

    async def _look(self) -> None:
        while True:
            began = time.monotonic()
            await self.connection.send('{"type": "realtime.ping"}')
            assert json.loads(await self.connection.recv())["type"] == "realtime.pong"
            self.delays.append(time.monotonic() - began)
            self.largest = max(self.largest, resident_bytes(self.daphne))
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS)
async def test_flood(cluster: Cluster, frame: bytes) -> None:
    """Thousands of frames a second close their socket with 4429, and cost nobody else anything."""
    (daphne,) = await cluster.start()
    person, other = await cluster.people(2)
    async with Watch(daphne, await ready(daphne.url, token=other.token)) as watch:
        for _ in range(3):
            connection = await ready(daphne.url, token=person.token)
            connection.transport.write(BEGIN + frame * FLOOD_FRAMES)
            async with asyncio.timeout(60):
                assert await close_code(connection) == 4429
    watch.check()
    assert watch.largest - watch.before < GROWTH_BYTES


async def test_sign_ins(cluster: Cluster) -> None:
    """Passwords that are tried all at once are counted one by one, and need little memory."""
    (daphne,) = await cluster.start()
    (person,) = await cluster.people(1)

    def attempt(number: int) -> int:
        body = json.dumps({"username": f"user{number}", "password": "a-guess"}).encode()
        return daphne.request("POST", "/api/token/", body=body, Content_Type="application/json")[0]

    async with Watch(daphne, await ready(daphne.url, token=person.token)) as watch:
        with ThreadPoolExecutor(SIGN_INS) as threads:
            loop = asyncio.get_running_loop()
            tries = [loop.run_in_executor(threads, attempt, n) for n in range(SIGN_INS)]
            statuses = Counter(await asyncio.gather(*tries))
    # A new minute may have begun meanwhile.
    assert 0 < statuses[401] <= 2 * 20
    assert statuses[401] + statuses[429] == SIGN_INS
    assert watch.largest - watch.before < HASHING_BYTES


async def silent(daphne: Daphne, person: Person) -> ClientConnection:
    """Open a socket with a small window, whose client takes nothing from it until it is asked."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.connect(("127.0.0.1", daphne.port))
    own.setblocking(False)
    url = f"{daphne.url}/ws/realtime/?token={person.token}"
    return await websockets.connect(
        url, sock=own, compression=None, proxy=None, ping_interval=None, max_queue=1
    )


async def cut_off(daphne: Daphne, connection: ClientConnection) -> None:
    """Wait until the server says that it has closed a connection with 4408."""
    line = f":{connection.local_address[1]} reads too slowly: closed with 4408"
    async with asyncio.timeout(60):
        while line not in daphne.log.read_text():
            await asyncio.sleep(0.1)


async def test_silent_reader(cluster: Cluster) -> None:
    """A client that never reads its 100 MB is cut off, and nobody else notices, nor the memory."""
    (daphne,) = await cluster.start()
    person, other = await cluster.people(2)
    watcher = await ready(daphne.url, token=other.token)
    connection = await silent(daphne, person)
    async with Watch(daphne, watcher) as watch:
        await cluster.do("burst", users=[person.id], count=2_000, text_bytes=50_000)
        await cut_off(daphne, connection)
        # It has five seconds to answer the close frame.
        await asyncio.sleep(6)
    assert await close_code(connection) is None
    watch.check()
    assert watch.largest - watch.before < GROWTH_BYTES


async def test_slow_reader(cluster: Cluster) -> None:
    """A client that reads on within five seconds finds 4408 behind what was buffered for it."""
    (daphne,) = await cluster.start()
    (person,) = await cluster.people(1)
    connection = await silent(daphne, person)
    await cluster.do("burst", users=[person.id], count=200, text_bytes=50_000)
    await cut_off(daphne, connection)
    assert await close_code(connection) == 4408
