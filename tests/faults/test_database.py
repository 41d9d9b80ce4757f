"""A database that is away: requests are told to come again, and nobody sees a traceback."""

import asyncio

from .cluster import Cluster, Databases


async def test_requests(cluster: Cluster, databases: Databases) -> None:
    """They get 503 with a time, no traceback in the log, and an answer once it is back."""
    (daphne,) = await cluster.start()
    (person,) = await cluster.people(1)
    paths = ["/api/users/me/", "/api/streams/realtime/"]

    def ask() -> list[int]:
        return [daphne.request("GET", path, token=person.token)[0] for path in paths]

    databases.server.crash()
    try:
        away = await asyncio.to_thread(ask)
    finally:
        await asyncio.to_thread(databases.server.start)

    assert away == [503, 503]
    assert await asyncio.to_thread(ask) == [200, 200]
    assert "Traceback" not in daphne.log.read_text()
