"""Every place in a project that can notify a user does, and leaves nothing behind."""

import asyncio
import json
import time

import pytest

from .clients import Client
from .cluster import Cluster, Databases, devices
from .ledger import Ledger
from .servers import WebServer

TICK_SECONDS = 10
# What an event takes at most that was not left to the tick.
PROMPT_SECONDS = 3
CALLS = 10_000
# Of a Daphne; the callers' threads close their connections.
DATABASE_THREADS = 8


@pytest.mark.fault(12)
async def test_every_caller(cluster: Cluster, ledger: Ledger) -> None:
    """Views, a consumer, a signal handler, threads, forks and commands: each event comes live."""
    daphnes = await cluster.start()
    gunicorn = await cluster.gunicorn()
    people = await cluster.people(1)
    user = people[0].id
    async with devices(people, daphnes, path="/ws/newsroom/") as clients:
        (client,) = clients
        await get(daphnes[0], f"/newsroom/sync/{user}/1/")
        await get(daphnes[0], f"/newsroom/async/{user}/2/")
        await get(daphnes[0], f"/newsroom/rename/{user}/3/")
        await client.send(type="newsroom.notify", number=4)
        await cluster.do("call_from_thread", user=user, number=5)
        await asyncio.to_thread(notify_by_command, cluster, "user0", 6)
        # Counted from its end, since to start takes it longest.
        async with asyncio.timeout(PROMPT_SECONDS):
            await client.until(lambda: 6 in numbers(client))
        assert await cluster.do("call_from_fork", user=user, number=7) == 0
        # Enough requests for both of its workers to have had some.
        await asyncio.gather(
            *(get(gunicorn, f"/newsroom/sync/{user}/{number}/") for number in range(9, 21))
        )
        await client.until(lambda: len(client.record) == 20)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert sorted(numbers(client)) == list(range(1, 21))
    others = [
        delay for number, delay in zip(numbers(client), client.delays, strict=True) if number != 6
    ]
    assert max(others) < PROMPT_SECONDS


@pytest.mark.fault(12)
async def test_ten_thousand_calls(cluster: Cluster, databases: Databases, ledger: Ledger) -> None:
    """Ten thousand calls from short-lived threads leave no connection behind."""
    daphnes = await cluster.start()
    people = await cluster.people(20)
    users = [person.id for person in people]
    async with devices(people, daphnes) as clients:
        await cluster.do("call_often", users=users, count=CALLS, durable_one_in=10)
        await clients.caught_up(await cluster.heads(people), within=2 * TICK_SECONDS)
        # Daphne's subscription and its probes, and the callers' publisher.
        assert cluster.redis.connections() <= 3
        assert databases.connections(cluster) <= DATABASE_THREADS
    ledger.compare(clients, await cluster.history(people))
    ledger.check()


def numbers(client: Client) -> list[int]:
    """Give the numbers of the events that a client received."""
    return [event.number for event in client.record]


def notify_by_command(cluster: Cluster, name: str, number: int) -> None:
    """Run `manage.py notify`, a process that ends right after the call."""
    event = json.dumps({"type": "news", "number": number, "at": time.time()})
    cluster.project.manage("notify", name, event, environment=cluster.environment)


async def get(server: WebServer, path: str) -> None:
    """Ask for a page, which must be there."""
    status, body = await asyncio.to_thread(server.request, "GET", path)
    assert status == 200, body
