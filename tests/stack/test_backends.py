"""Several Daphnes behind one name."""

import asyncio
import contextlib
import re
from collections import Counter

from websockets.sync.client import connect

from ..faults.clients import Client, Clients, Person, Received
from ..faults.desk import Desk
from ..faults.ledger import Ledger
from .stack import Stack

SOCKETS = 8


def test_sockets_are_shared_between_two_daphnes(stack: Stack) -> None:
    """A second Daphne that comes up under the name gets its share, without a reload of nginx."""
    bob = stack.person("bob")
    first, second = stack.backends
    stack.run(second)
    try:
        stack.resolve(first.address, second.address)
        marker = len(stack.nginx.log.read_text())
        url = f"ws://127.0.0.1:{stack.nginx.port}/ws/realtime/?token={bob.token}"
        with contextlib.ExitStack() as sockets:
            for _ in range(SOCKETS):
                ws = sockets.enter_context(connect(url, proxy=None))
                ws.recv(timeout=10)

        def served() -> Counter[str]:
            log = stack.nginx.log.read_text()[marker:]
            return Counter(re.findall(r'"GET /ws/realtime/" 101 .* upstream ([\d.]+):', log))

        stack.until(lambda: served().total() == SOCKETS)
        assert min(served()[first.address], served()[second.address]) >= SOCKETS // 2 - 1
    finally:
        stack.resolve(first.address)
        second.stop()


def test_a_rolling_restart_loses_nothing(stack: Stack) -> None:
    """While each Daphne is replaced in turn, clients go over and get every event once, in order."""
    people = [stack.person(f"guest{number}") for number in range(6)]
    asyncio.run(restart(stack, people))


async def restart(stack: Stack, people: list[Person]) -> None:
    """Replace the first Daphne by the second and back, with clients and a publisher at work."""
    first, second = stack.backends
    users = [person.id for person in people]
    members = [Client(person, [f"ws://127.0.0.1:{stack.nginx.port}"]) for person in people]
    desk = Desk("desk", stack.folder, stack.project, stack.environment)
    async with desk, Clients(members) as clients:
        publishing = await desk.begin("publish", users=users, rate=60)
        await publishing.until_noted(30)
        for old, new in ((first, second), (second, first)):
            await asyncio.to_thread(stack.run, new)
            await asyncio.to_thread(stack.resolve, new.address)
            await asyncio.to_thread(old.stop)
            await publishing.until_noted(len(publishing.notes) + 30)
        await publishing.stop()
        await clients.caught_up(dict(await desk.do("heads", users=users)), within=20)
        rows = await desk.do("history", users=users)
    ledger = Ledger()
    ledger.compare(clients, {user: [Received(*event) for event in events] for user, events in rows})
    ledger.check()
    for client in clients:
        assert client.codes == [4412, 4412]
        assert not client.resets
