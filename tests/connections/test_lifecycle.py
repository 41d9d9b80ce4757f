"""How connections are counted, and how they end with their process."""

import asyncio
import json
import signal
import time

import pytest
import websockets

from ..faults.cluster import Cluster, Databases
from ..faults.servers import Daphne
from .sockets import close_code, connect, ready
from .test_rest import post, sign_up

pytestmark = pytest.mark.xdist_group("connections")

SOCKETS_PER_USER = 10
# Within so many seconds the sockets of a killed process count no longer.
HEAL_SECONDS = 30


def rows(databases: Databases, cluster: Cluster) -> int:
    """Count the rows of open sockets and of processes."""
    query = "SELECT (SELECT count(*) FROM realtime_connection) + count(*) FROM realtime_process"
    return int(databases.server.ask(query, cluster.database_url.rpartition("/")[2]))


async def test_stop(cluster: Cluster, databases: Databases) -> None:
    """SIGTERM tells 500 sockets to come back elsewhere, and leaves no row behind."""
    (daphne,) = await cluster.start()
    people = await cluster.people(50)
    sockets = [
        await ready(daphne.url, token=person.token)
        for person in people
        for _ in range(SOCKETS_PER_USER)
    ]
    assert rows(databases, cluster) == len(sockets) + 1
    process = daphne.running
    assert process is not None
    codes = asyncio.gather(*(close_code(connection) for connection in sockets))

    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(process.wait, 10)

    assert status == 0
    assert time.monotonic() - began < 10
    assert set(await codes) == {4412}
    assert rows(databases, cluster) == 0


async def test_cap(cluster: Cluster) -> None:
    """A user has ten sockets in all processes together; a killed process frees its share."""
    first, second = await cluster.start(daphnes=2)
    (person,) = await cluster.people(1)
    sockets = [
        await ready(daphne.url, token=person.token)
        for daphne in (first, second)
        for _ in range(SOCKETS_PER_USER // 2)
    ]
    for daphne in (first, second):
        assert await close_code(await connect(daphne.url, token=person.token)) == 4429

    first.kill()
    killed = time.monotonic()
    while True:
        connection = await connect(second.url, token=person.token)
        try:
            await connection.recv()
            break
        except websockets.ConnectionClosed:
            await asyncio.sleep(0.2)
    assert time.monotonic() - killed < HEAL_SECONDS
    for other in (*sockets, connection):
        await other.close()


async def test_ticket(cluster: Cluster) -> None:
    """A ticket that one process has sold opens one socket of another."""
    first, second = await cluster.start(daphnes=2)
    (person,) = await cluster.people(1)
    status, body = await asyncio.to_thread(
        first.request, "POST", "/api/realtime/ticket/", person.token
    )
    assert status == 201
    ticket = json.loads(body)["ticket"]

    connection = await ready(second.url, ticket=ticket)

    assert await close_code(await connect(first.url, ticket=ticket)) == 4401
    await connection.close()


async def test_logout(cluster: Cluster) -> None:
    """Whoever logs out loses the sockets of every process, at once and not with the next tick."""
    await cluster.run(cluster.redis)
    environment = cluster.environment | {"REALTIME_TICK_SECONDS": "3600"}
    daphnes = [
        await cluster.run(Daphne(name, cluster.folder, cluster.project, environment))
        for name in ("first", "second")
    ]
    ada, grace = [await asyncio.to_thread(sign_up, daphnes[0], name) for name in ("ada", "grace")]
    mine = [await ready(daphne.url, token=ada.access) for daphne in daphnes]
    theirs = [await ready(daphne.url, token=grace.access) for daphne in daphnes]

    await asyncio.to_thread(post, daphnes[0], "/api/token/blacklist/", refresh=ada.refresh)

    async with asyncio.timeout(60):
        assert [await close_code(connection) for connection in mine] == [4401, 4401]
    for daphne in daphnes:
        assert await close_code(await connect(daphne.url, token=ada.access)) == 4401
        assert daphne.request("GET", "/api/users/me/", ada.access)[0] == 401
    for connection in theirs:
        await connection.send('{"type": "realtime.ping"}')
        assert json.loads(await connection.recv())["type"] == "realtime.pong"
        await connection.close()
