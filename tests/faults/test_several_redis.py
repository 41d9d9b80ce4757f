"""Faults of several Redis servers: with Sentinels, and as shards."""

import asyncio
import re

import pytest

from .cluster import Cluster, devices
from .ledger import Ledger
from .servers import Redis, Sentinel
from .test_redis import CALL_SECONDS, away, ids, publish_live, recover

PASSWORD, SENTINEL_PASSWORD = "of-the-servers", "of-the-sentinels"
FAILOVER_SECONDS = 60


@pytest.mark.fault(13)
async def test_failover(cluster: Cluster, ledger: Ledger) -> None:
    """Events that are sent while there is no master arrive; then all is live on the new one."""
    cluster.redis = Redis("master", cluster.folder, PASSWORD)
    replica = Redis("replica", cluster.folder, PASSWORD)
    replica.command += ["--replicaof", "127.0.0.1", str(cluster.redis.port)]
    sentinels = [
        Sentinel(f"sentinel-{number}", cluster.folder, cluster.redis, SENTINEL_PASSWORD)
        for number in range(3)
    ]
    addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    cluster.redis_url = (
        f"redis+sentinel://:{PASSWORD}@{addresses}/mymaster/0?sentinel_password={SENTINEL_PASSWORD}"
    )
    for process in (replica, *sentinels):
        await cluster.run(process)
    daphnes = await cluster.start(daphnes=2)
    for sentinel in sentinels:
        await seen(sentinel, status="ok", slaves="1", sentinels="3")

    people = await cluster.people(20)
    async with devices(people, daphnes) as clients:
        publishing = await cluster.begin("publish", users=ids(people), rate=100)
        await publishing.until_noted(200)

        # The first Sentinel, which everyone asks first, goes down with the machine of the master.
        cluster.redis.kill()
        sentinels[0].kill()
        await seen(sentinels[1], address=f"127.0.0.1:{replica.port}")
        await publishing.stop()
        await recover(cluster, clients, people, ledger)

        again = await publish_live(cluster, clients, people, rate=100)

        # The cache has moved as well: a request has been counted on the new master.
        assert daphnes[0].request("GET", "/readyz")[0] == 200
        daphnes[0].request("POST", "/api/token/")
        assert int(replica.ask("DBSIZE")) > 0
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert max(note["seconds"] for note in publishing.notes + again.notes) < CALL_SECONDS


@pytest.mark.fault(14)
async def test_shard_killed(cluster: Cluster, ledger: Ledger) -> None:
    """Both servers carry hints; while one of them is away events come by the tick, then live."""
    other = Redis("redis-2", cluster.folder)
    cluster.redis_url += f",redis://localhost:{other.port}/0"
    await cluster.run(other)
    daphnes = await cluster.start(daphnes=2)
    people = await cluster.people(20)
    async with devices(people, daphnes) as clients:
        publishing = await cluster.begin("publish", users=ids(people), rate=100)
        await publishing.until_noted(200)
        for server in (cluster.redis, other):
            assert count(server, "pubsub_channels") > 1

        await away(other, publishing)
        await recover(cluster, clients, people, ledger)

        again = await publish_live(cluster, clients, people, rate=100)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    assert max(note["seconds"] for note in publishing.notes + again.notes) < CALL_SECONDS


def count(server: Redis, name: str) -> int:
    """Give one of the figures of INFO stats."""
    return int(re.search(rf"^{name}:(\d+)", server.ask("INFO stats"), re.MULTILINE)[1])


async def seen(sentinel: Sentinel, **facts: str) -> None:
    """Wait until a Sentinel knows these facts about the master."""
    async with asyncio.timeout(FAILOVER_SECONDS):
        while not facts.items() <= sentinel.sees().items():
            await asyncio.sleep(0.1)
