"""A Redis that does not let everybody do everything."""

import pytest

from .cluster import Cluster, devices
from .ledger import Ledger

# Seconds: hints come long before the tick.
SOON = 3


@pytest.mark.parametrize(
    "rights",
    [
        "+@all -@scripting",
        "-@all +subscribe +unsubscribe +publish +ping +client +hello",
    ],
)
async def test_an_account_without_scripting(cluster: Cluster, ledger: Ledger, rights: str) -> None:
    """Hints arrive all the same, also where it may do nothing but publish and subscribe."""
    await cluster.run(cluster.redis)
    cluster.redis.ask(f"ACL SETUSER hints on >secret ~* &* {rights}")
    cluster.redis_url = f"redis://hints:secret@localhost:{cluster.redis.port}/0"
    daphnes = [await cluster.daphne() for _ in range(2)]
    people = await cluster.people(4)
    async with devices(people, daphnes) as clients:
        await cluster.do("burst", users=[person.id for person in people], count=400)
        await clients.caught_up(await cluster.heads(people), within=SOON)
    ledger.compare(clients, await cluster.history(people))
    ledger.check()
    for daphne in daphnes:
        assert "the channel layer fails" not in daphne.log.read_text()
