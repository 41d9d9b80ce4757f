"""Faults of Redis: it wakes the processes up, and nothing depends on it but time."""

import asyncio

import pytest

from .clients import Client, Clients, Person
from .cluster import Cluster, devices
from .desk import Job
from .ledger import Ledger
from .proxy import Proxy
from .servers import Redis

TICK_SECONDS = 10
# What a busy machine may add to a bound.
MARGIN_SECONDS = 3
# How long a notification may take whatever has become of Redis.
CALL_SECONDS = 2
# What an event takes at most that was not left to the tick.
PROMPT_SECONDS = 3


@pytest.mark.fault(8)
async def test_idle_socket(cluster: Cluster, ledger: Ledger) -> None:
    """A socket that is idle for 70 s stays open, and still hears of the next event at once."""
    daphnes = await cluster.start()
    people = await cluster.people(1)
    async with devices(people, daphnes) as clients:
        await asyncio.sleep(70)
        await cluster.do("notify", user=people[0].id)
        await clients.caught_up(await cluster.heads(people), within=TICK_SECONDS)
        (client,) = clients
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert (client.connections, client.codes) == (1, [])
    assert client.delays[0] < 1


@pytest.mark.fault(2)
async def test_black_hole(cluster: Cluster, ledger: Ledger) -> None:
    """With Redis in a black hole events come by the tick, and live again once it is over."""
    async with Proxy(cluster.redis.port) as proxy:
        cluster.redis_url = f"redis://localhost:{proxy.port}/0"
        daphnes = await cluster.start(daphnes=2)
        people = await cluster.people(20)
        async with devices(people, daphnes) as clients:
            publishing = await cluster.begin("publish", users=ids(people), rate=100)
            await publishing.until_noted(200)

            proxy.swallow()
            await publishing.until_noted(len(publishing.notes) + 100)
            took = await clients.caught_up(await cluster.heads(people), within=30)
            ledger.recovered(took)
            assert took < 15

            proxy.forward()
            # Two probes go unanswered before the connection is given up.
            await live(clients)
            await publishing.stop()
            await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert max(delay for client in clients for delay in client.delays) < 15
    assert max(note["seconds"] for note in publishing.notes) < CALL_SECONDS


@pytest.mark.fault(1)
async def test_redis_killed(cluster: Cluster, ledger: Ledger) -> None:
    """Events that are sent while there is no Redis arrive within one tick of its return."""
    daphnes = await cluster.start(daphnes=2)
    people = await cluster.people(50)
    async with Clients(
        [Client(person, [daphne.url]) for person in people for daphne in daphnes]
    ) as clients:
        publishing = await cluster.begin("publish", users=ids(people), rate=200)
        await publishing.until_noted(400)

        await away(cluster.redis, publishing)
        await recover(cluster, clients, people, ledger)

        again = await publish_live(cluster, clients, people, rate=200)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert max(note["seconds"] for note in publishing.notes + again.notes) < CALL_SECONDS


@pytest.mark.fault(3)
async def test_flushed(cluster: Cluster, ledger: Ledger) -> None:
    """A flush and killed subscriptions lose nothing and leave no socket deaf."""
    daphnes = await cluster.start(daphnes=2)
    people = await cluster.people(20)
    async with devices(people, daphnes) as clients:
        publishing = await cluster.begin("publish", users=ids(people), rate=100)
        for command in ("FLUSHALL", "CLIENT KILL TYPE pubsub", "CLIENT KILL TYPE normal"):
            await publishing.until_noted(len(publishing.notes) + 100)
            cluster.redis.ask(command)
        heads = await cluster.heads(people)
        took = await clients.caught_up(heads, within=2 * TICK_SECONDS)
        ledger.recovered(took)
        assert took < TICK_SECONDS + MARGIN_SECONDS

        await live(clients)
        await publishing.stop()
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()


async def away(redis: Redis, publishing: Job) -> None:
    """Kill a Redis for ten seconds, at the end of which nothing is published any more."""
    redis.kill()
    await asyncio.sleep(10)
    # No later event may point out the missing ones.
    await publishing.stop()
    await asyncio.to_thread(redis.start)


async def recover(cluster: Cluster, clients: Clients, people: list[Person], ledger: Ledger) -> None:
    """Wait until every client has all that was published, for one tick at most."""
    took = await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    ledger.recovered(took)
    assert took < TICK_SECONDS + MARGIN_SECONDS


async def publish_live(cluster: Cluster, clients: Clients, people: list[Person], rate: int) -> Job:
    """Publish until no client needs the tick for it, and give the job."""
    again = await cluster.begin("publish", users=ids(people), rate=rate)
    await live(clients)
    await again.stop()
    await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
    return again


def ids(people: list) -> list[int]:
    """Give the ids of people."""
    return [person.id for person in people]


async def live(clients: Clients) -> None:
    """Wait until no client needs the tick: for longer than that every event came promptly."""
    async with asyncio.timeout(6 * TICK_SECONDS):
        while True:
            before = {client: len(client.delays) for client in clients}
            await asyncio.sleep(TICK_SECONDS + 1)
            waited = [client.delays[seen:] for client, seen in before.items()]
            if all(delays and max(delays) < PROMPT_SECONDS for delays in waited):
                return
