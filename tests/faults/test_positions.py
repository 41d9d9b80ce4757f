"""Faults of a client's position: it reconnects all the time, or its place in history is gone."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from .clients import Client, Clients
from .cluster import Cluster, Databases, devices
from .ledger import Ledger

TICK_SECONDS = 10
MARGIN_SECONDS = 3
REPLAY_LIMIT = 1000
SEED = 20_241_122
# Larger than all the buffers between a server and a client that does not read.
BACKLOG = {"count": 400, "text_bytes": 40_000}


@pytest.mark.fault(6)
async def test_reconnects(cluster: Cluster, ledger: Ledger) -> None:
    """Clients that come and go at random while writes go on have no gap and no duplicate."""
    daphnes = await cluster.start(daphnes=2)
    people = await cluster.people(10)
    chance = random.Random(SEED)

    async def come_and_go(client: Client) -> None:
        for _ in range(26):
            await asyncio.sleep(chance.uniform(0, 0.3))
            await client.until(lambda: client.connection is not None)
            next_one = client.connections + 1
            if chance.random() < 0.5:
                client.break_off()
            else:
                await client.connection.close()
            await client.until(lambda n=next_one: client.connections >= n)

    async with devices([*people, *people], daphnes) as clients:
        users = [person.id for person in people]
        publishing = await cluster.begin("publish", users=users, rate=200)
        await asyncio.gather(*map(come_and_go, clients))
        await publishing.stop()
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert sum(client.connections - 1 for client in clients) >= 500
    assert not any(client.resets for client in clients)


@pytest.mark.fault(6)
async def test_unusable_positions(cluster: Cluster, ledger: Ledger) -> None:
    """A stale epoch, a trimmed, future or far position leads to a reset, then to live events."""
    daphnes = await cluster.start()
    people = await cluster.people(1)
    user = people[0].id
    await cluster.do("burst", users=[user], count=REPLAY_LIMIT + 20)
    await cluster.do("manage", command="trim_streams", arguments=["--entries", "1010"])
    epoch = (await cluster.history(people))[user][0].epoch
    head = REPLAY_LIMIT + 20
    positions = {
        "stale epoch": (str(uuid.uuid4()), head - 1),
        "trimmed": (epoch, 5),
        "over-long backlog": (epoch, 15),
        "future": (epoch, head + 1),
        "usable": (epoch, 20),
    }
    servers = [daphnes[0].url]
    async with Clients(
        [Client(people[0], servers, epoch=epoch, seq=since) for epoch, since in positions.values()]
    ) as clients:
        await asyncio.gather(*(client.reached(head) for client in clients))
        usable = clients.members[-1]
        for client in clients:
            expected = [] if client is usable else [head]
            assert [frame["seq"] for frame in client.resets] == expected
            assert client.epoch == epoch
        assert len(usable.record) == REPLAY_LIMIT
        go_on_from_here(clients)
        await cluster.do("burst", users=[user], count=10)
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()


@pytest.mark.fault(7)
async def test_database_crashes_during_replay(
    cluster: Cluster, databases: Databases, ledger: Ledger
) -> None:
    """Clients whose replay meets a crashed PostgreSQL wait for it, and get the rest."""
    async with replaying(cluster) as clients:
        databases.server.crash()
        for client in clients:
            client.read_on()
        await asyncio.sleep(2)
        await asyncio.to_thread(databases.server.start)
        people = [clients.members[0].person]
        took = await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.recovered(took)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert not any(client.resets for client in clients)


@pytest.mark.fault(11)
async def test_trimmed_during_replay(cluster: Cluster, ledger: Ledger) -> None:
    """Clients whose replay is overtaken by a trim are reset, and go on live."""
    async with replaying(cluster) as clients:
        await cluster.do("manage", command="trim_streams", arguments=["--entries", "5"])
        await go_on(cluster, clients, ledger)
        assert any(client.resets for client in clients)


@pytest.mark.fault(11)
async def test_new_epoch_during_replay(cluster: Cluster, ledger: Ledger) -> None:
    """Clients whose replay is overtaken by a new epoch are reset, and go on live."""
    async with replaying(cluster) as clients:
        await cluster.do("manage", command="renew_epochs", arguments=[])
        await go_on(cluster, clients, ledger)
        assert all(client.resets for client in clients)


@pytest.mark.fault(11)
async def test_restored_during_replay(
    cluster: Cluster, databases: Databases, ledger: Ledger
) -> None:
    """Clients that know more than a restored database does are reset, and go on live."""
    name = cluster.database_url.rpartition("/")[2]
    async with replaying(cluster, backup=lambda: databases.copy(name, "backup")) as clients:
        databases.copy("backup", name)
        ahead = clients.members[0]
        async with asyncio.timeout(TICK_SECONDS + MARGIN_SECONDS):
            await ahead.until(lambda: ahead.resets)
        assert ahead.seq == BACKLOG["count"]

        await cluster.do("manage", command="renew_epochs", arguments=[])
        await go_on(cluster, clients, ledger)
        assert all(client.resets for client in clients)


@pytest.mark.fault(11)
async def test_deleted_during_replay(cluster: Cluster) -> None:
    """Clients whose user is deleted are closed with a code that says so."""
    async with replaying(cluster) as clients:
        await cluster.do("delete", user=clients.members[0].person.id)
        async with asyncio.timeout(TICK_SECONDS + MARGIN_SECONDS):
            for client in clients:
                client.read_on()
                await client.until(lambda c=client: c.codes and c.codes[-1] in {4401, 4404})


@contextlib.asynccontextmanager
async def replaying(
    cluster: Cluster, backup: Callable[[], None] = lambda: None
) -> AsyncIterator[Clients]:
    """Give one client that is at the head, and three that stopped reading during their replay."""
    daphnes = await cluster.start()
    people = await cluster.people(1)
    user = people[0].id
    await cluster.do("burst", users=[user], **BACKLOG)
    backup()
    await cluster.do("burst", users=[user], count=10)
    epoch = (await cluster.history(people))[user][0].epoch
    servers = [daphnes[0].url]
    half_way = [
        Client(people[0], servers, epoch=epoch, seq=0, pause_at=pause_at)
        for pause_at in (3, 30, 90)
    ]
    async with Clients([Client(people[0], servers), *half_way]) as clients:
        for client in half_way:
            await client.until(lambda c=client: not c.reads.is_set())
        yield clients


async def go_on(cluster: Cluster, clients: Clients, ledger: Ledger) -> None:
    """Let everybody read, wait until all are where the database is, and check what comes then."""
    people = [clients.members[0].person]
    user = people[0].id
    last = (await cluster.history(people))[user][-1]
    for client in clients:
        client.read_on()
    took = await clients.caught_up(
        {user: last.seq}, within=TICK_SECONDS + MARGIN_SECONDS, epoch=last.epoch
    )
    ledger.recovered(took)
    assert [(client.epoch, client.seq) for client in clients] == [last[:2]] * len(clients.members)
    for client in clients:
        numbers = [event.seq for event in client.record]
        assert numbers == list(range(client.start + 1, client.start + 1 + len(numbers)))
    go_on_from_here(clients)
    await cluster.do("burst", users=[user], count=20)
    await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()


def go_on_from_here(clients: Clients) -> None:
    """Begin every client's record anew at its present position, as after a refetch over REST."""
    for client in clients:
        client.start = client.seq
        client.record.clear()
