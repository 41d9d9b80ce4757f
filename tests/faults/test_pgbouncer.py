"""PgBouncer in transaction mode: no parameters at the start, and no session of one's own."""

import asyncio
from collections.abc import Iterator

import pytest

from .cluster import Cluster, Databases, devices
from .ledger import Ledger
from .servers import PgBouncer
from .test_writers import LOCK_TIMEOUT_SECONDS, MARGIN_SECONDS, TICK_SECONDS


@pytest.fixture
def pooled(cluster: Cluster, databases: Databases) -> Iterator[Cluster]:
    """A cluster whose processes reach an empty database through PgBouncer."""
    databases.server.ask("DROP DATABASE IF EXISTS pooled WITH (FORCE)")
    databases.server.ask("CREATE DATABASE pooled")
    pooler = PgBouncer("pgbouncer", cluster.folder, databases.server)
    pooler.start()
    cluster.database_url = pooler.url("pooled")
    yield cluster
    pooler.kill()


async def test_behind_a_pooler(pooled: Cluster, cluster: Cluster, ledger: Ledger) -> None:
    """Migrations, events, the bounded wait for a row and trimming work as they do without one."""
    environment = pooled.environment
    await asyncio.to_thread(pooled.project.manage, "migrate", environment=environment)
    daphnes = await pooled.start()
    people = await pooled.people(3)
    held, free = people[0].id, people[1].id
    async with devices(people, daphnes) as clients:
        await pooled.do("burst", users=[person.id for person in people], count=300)

        holding = await pooled.begin("hold", user=held)
        await holding.until_noted()
        attempts = [pooled.do("try_to_notify", user=held) for _ in range(3)]
        assert await pooled.do("notify", user=free) < 1
        for error, seconds in await asyncio.gather(*attempts):
            assert error.startswith("StreamBusy: realtime.UserStream")
            assert seconds < LOCK_TIMEOUT_SECONDS + MARGIN_SECONDS
        await holding.stop()
        await clients.caught_up(await pooled.heads(people), within=TICK_SECONDS)
    ledger.compare(clients, await pooled.history(people))
    ledger.check()

    trim = ("trim_streams", "--entries", "10", "--batch", "7")
    said = await asyncio.to_thread(pooled.project.manage, *trim, environment=environment)
    assert "272 entries of 3 streams deleted" in said
    said = await asyncio.to_thread(pooled.project.manage, "renew_epochs", environment=environment)
    assert "3 streams" in said
