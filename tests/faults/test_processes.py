"""Faults of the processes around a stream: they die, they hang, they come back."""

import asyncio
import signal

import pytest

from .clients import Client, Clients
from .cluster import Cluster, Databases, devices
from .ledger import Ledger

TICK_SECONDS = 10
MARGIN_SECONDS = 3


@pytest.mark.fault(4)
async def test_publisher_killed(cluster: Cluster, ledger: Ledger) -> None:
    """An event whose publisher died right after the commit arrives with the next tick."""
    daphnes = await cluster.start()
    people = await cluster.people(3)
    async with devices(people, daphnes) as clients:
        for person in people:
            doomed = await cluster.desk()
            await doomed.begin("die_before_publishing", user=person.id, number=1)
            assert await doomed.process.wait() == -signal.SIGKILL
        heads = await cluster.heads(people)
        assert heads == {person.id: 1 for person in people}
        took = await clients.caught_up(heads, within=2 * TICK_SECONDS)
    ledger.recovered(took)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert took < TICK_SECONDS + MARGIN_SECONDS


@pytest.mark.fault(7)
async def test_servers_killed(cluster: Cluster, databases: Databases, ledger: Ledger) -> None:
    """Clients go elsewhere when a Daphne dies, wait out a crashed PostgreSQL, and miss nothing."""
    first, second = await cluster.start(daphnes=2)
    people = await cluster.people(20)
    users = [person.id for person in people]
    async with devices(people, [first, second]) as clients:
        publishing = await cluster.begin("publish", users=users, rate=100)
        await publishing.until_noted(100)

        first.kill()
        ledger.recovered(await clients.caught_up(await cluster.heads(people), within=30))
        await asyncio.to_thread(first.start)
        second.kill()
        ledger.recovered(await clients.caught_up(await cluster.heads(people), within=30))
        await asyncio.to_thread(second.start)
        await publishing.until_noted(len(publishing.notes) + 100)

        databases.server.crash()
        await asyncio.sleep(3)
        await asyncio.to_thread(databases.server.start)
        ledger.recovered(await clients.caught_up(await cluster.heads(people), within=30))

        # And both at once.
        databases.server.crash()
        first.kill()
        await asyncio.to_thread(databases.server.start)
        ledger.recovered(await clients.caught_up(await cluster.heads(people), within=30))
        await publishing.stop()
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    history = await cluster.history(people)
    ledger.compare(clients, history)
    ledger.check()
    assert set().union(*(client.codes for client in clients)) <= {1006, 1011}
    stored = {(user, event.seq) for user, events in history.items() for event in events}
    confirmed = {(note["user"], note["seq"]) for note in publishing.notes if "seq" in note}
    assert confirmed <= stored


@pytest.mark.fault(8)
async def test_burst(cluster: Cluster, ledger: Ledger) -> None:
    """A thousand notifications at once to fifty users of one process all arrive."""
    daphnes = await cluster.start()
    people = await cluster.people(50)
    async with devices(people, daphnes) as clients:
        await cluster.do("burst", users=[person.id for person in people], count=1000)
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert ledger.received == 1000


@pytest.mark.fault(9)
async def test_slow_database(cluster: Cluster, ledger: Ledger) -> None:
    """Consumers that wait 3 s for the database delay nobody else's events and connections."""
    daphnes = await cluster.start()
    slow, *people = await cluster.people(6)
    sleepers = [Client(slow, [daphnes[0].url], path="/ws/newsroom/") for _ in range(4)]
    async with Clients(sleepers), devices(people, daphnes) as clients:
        users = [person.id for person in people]
        publishing = await cluster.begin("publish", users=users, rate=50)
        await publishing.until_noted(10)
        for sleeper in sleepers:
            await sleeper.send(type="newsroom.sleep", seconds=3)
        late = devices(people, daphnes)
        async with asyncio.timeout(2), late:
            pass
        await asyncio.gather(
            *(
                sleeper.until(lambda s=sleeper: s.others[-1]["type"] == "newsroom.slept")
                for sleeper in sleepers
            )
        )
        await publishing.stop()
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    # Were they in line behind the sleepers, most of the events would be late.
    delays = sorted(delay for client in clients for delay in client.delays)
    slow_one = delays[int(len(delays) * 0.95)]
    ledger.recovered(slow_one)
    assert slow_one < 1
