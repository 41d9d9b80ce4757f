"""Faults of those who write: they change their mind, crowd one stream, and block each other."""

import asyncio

import pytest

from .cluster import Cluster, devices
from .ledger import Ledger

TICK_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 5
MARGIN_SECONDS = 3

both_databases = pytest.mark.parametrize("database", ["postgresql", "sqlite"])


@pytest.mark.fault(5)
@both_databases
async def test_rollback(cluster: Cluster, ledger: Ledger) -> None:
    """A transaction that is rolled back leaves neither an event nor a gap."""
    daphnes = await cluster.start()
    people = await cluster.people(1)
    user = people[0].id
    async with devices(people * 3, daphnes) as clients:
        await cluster.do("notify", user=user, number=1)
        assert await cluster.do("roll_back", user=user, number=2) == 2
        await cluster.do("notify", user=user, number=3)
        await clients.caught_up(await cluster.heads(people), within=TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    for client in clients:
        assert [(event.seq, event.number) for event in client.record] == [(1, 1), (2, 3)]


@pytest.mark.fault(5)
@both_databases
async def test_eight_writers(cluster: Cluster, ledger: Ledger) -> None:
    """Eight processes that write to one user at once make the numbers from 1 to N, in order."""
    daphnes = await cluster.start()
    people = await cluster.people(1)
    writers = await asyncio.gather(*(cluster.desk() for _ in range(8)))
    async with devices(people * 3, daphnes) as clients:
        user = [people[0].id]
        await asyncio.gather(
            *(writer.do("burst", users=user, count=50, threads=1) for writer in writers)
        )
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    for client in clients:
        assert [event.seq for event in client.record] == list(range(1, 401))


@pytest.mark.fault(10)
@both_databases
async def test_opposite_orders(cluster: Cluster, ledger: Ledger) -> None:
    """Two transactions in opposite orders end in bounded time, each as a whole or not at all."""
    daphnes = await cluster.start()
    people = await cluster.people(2)
    first, second = (person.id for person in people)
    async with devices(people, daphnes) as clients:
        results = await cluster.do("opposite", first=first, second=second)
        await clients.caught_up(await cluster.heads(people), within=TICK_SECONDS)
    history = await cluster.history(people)
    ledger.compare(clients, history)
    ledger.check()
    for user, error, seconds in results:
        written = [user in [event.number for event in events] for events in history.values()]
        assert (error, written) in [(None, [True, True]), ("StreamBusy", [False, False])]
        assert seconds < LOCK_TIMEOUT_SECONDS + MARGIN_SECONDS
    assert None in [error for _, error, _ in results]


@pytest.mark.fault(10)
@both_databases
async def test_plural(cluster: Cluster, ledger: Ledger) -> None:
    """`notify_users` never deadlocks, in whatever order two callers name the users."""
    daphnes = await cluster.start()
    people = await cluster.people(20)
    users = [person.id for person in people]
    async with devices(people, daphnes) as clients:
        await cluster.do("plural", users=users, rounds=25)
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert ledger.received == 2 * 25 * 20


@pytest.mark.fault(10)
@both_databases
async def test_stream_held(cluster: Cluster, database: str, ledger: Ledger) -> None:
    """While a transaction holds a stream, others get a clear error within their bound."""
    daphnes = await cluster.start()
    people = await cluster.people(2)
    held, free = (person.id for person in people)
    async with devices(people, daphnes) as clients:
        holding = await cluster.begin("hold", user=held)
        await holding.until_noted()
        attempts = [cluster.do("try_to_notify", user=held) for _ in range(3)]
        if database == "postgresql":
            # SQLite has one lock for everything.
            assert await cluster.do("notify", user=free) < 1
        for error, seconds in await asyncio.gather(*attempts):
            assert error.startswith("StreamBusy: realtime.UserStream")
            assert "locked by another transaction" in error
            assert seconds < LOCK_TIMEOUT_SECONDS + MARGIN_SECONDS
        await holding.stop()
        await cluster.do("notify", user=held)
        await clients.caught_up(await cluster.heads(people), within=TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
