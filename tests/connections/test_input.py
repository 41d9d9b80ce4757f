"""What a hostile client may send, and what the logs may say."""

import asyncio
import json
import random
from typing import Any

import pytest
import websockets

from ..faults.cluster import Cluster
from ..faults.servers import Daphne
from .sockets import close_code, connect, ready

pytestmark = pytest.mark.xdist_group("connections")

FRAMES = 2_000
# What the protocol lists for the frames of a client; 1007 is text that is not UTF-8.
CODES = {None, 1007, 4400, 4401, 4413, 4429}
MARK = "never-in-a-log"
TYPES = ("realtime.ping", "realtime.authenticate", "realtime.ready", "chat.message", "", MARK)


def value(chance: random.Random, depth: int = 0) -> Any:
    """Give any JSON value."""
    scalars = (None, True, -1, 10**400, 1e308, "", "\0", "\ud800", "é" * 50, MARK)
    kind = chance.randrange(4 if depth < 4 else 2)
    if kind < 2:
        return chance.choice(scalars)
    members = [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 2:
        return members
    return {chance.choice(("type", "token", "text", MARK, "\0")): member for member in members}


def frame(chance: random.Random) -> str | bytes:
    """Give any frame: sensible, nearly so, or not at all."""
    match chance.randrange(8):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return "".join(chr(chance.randrange(1, 0xD800)) for _ in range(chance.randrange(80)))
        case 2:
            return chance.choice("[{") * chance.randrange(1, 60_000)
        case 3:
            return MARK * chance.choice((1, 6_000))
        case 4:
            text = json.dumps({"type": chance.choice(TYPES), "token": value(chance)})
            return text[: chance.randrange(len(text))]
        case 5:
            return json.dumps(value(chance))
        case _:
            return json.dumps({"type": chance.choice(TYPES), "token": value(chance)})


async def test_frames(cluster: Cluster) -> None:
    """Whatever a client sends is answered or closes its socket with a listed code."""
    await cluster.run(cluster.redis)
    environment = cluster.environment | {"REALTIME_FRAMES_BURST": str(10 * FRAMES)}
    daphne = await cluster.run(Daphne("daphne", cluster.folder, cluster.project, environment))
    (person,) = await cluster.people(1)
    seed = random.randrange(10**9)
    print(f"the frames come from random.Random({seed})")
    chance = random.Random(seed)

    connection = None
    for _ in range(FRAMES):
        connection = connection or await ready(daphne.url, token=person.token)
        content = frame(chance)
        try:
            # Bytes go as text in half of the cases, be they UTF-8 or not.
            await connection.send(content, text=chance.choice((True, None)))
            await connection.send('{"type": "realtime.ping"}')
            async with asyncio.timeout(10):
                while json.loads(await connection.recv())["type"] != "realtime.pong":
                    pass
        except websockets.ConnectionClosed:
            code, connection = await close_code(connection), None
            assert code in CODES, content

    other = await ready(daphne.url, token=person.token)
    assert daphne.answers()
    log = daphne.log.read_text()
    assert "Traceback" not in log
    assert MARK not in log
    await other.close()


async def test_secrets(cluster: Cluster) -> None:
    """No log of any server has a token or a ticket, whatever it was used for."""
    (daphne,) = await cluster.start()
    gunicorn = await cluster.gunicorn()
    (person,) = await cluster.people(1)
    token = person.token
    secrets = [token, token[:-3] + "xyz"]
    _, body = await asyncio.to_thread(daphne.request, "POST", "/api/realtime/ticket/", token)
    ticket = json.loads(body)["ticket"]

    await (await ready(daphne.url, ticket=ticket)).close()
    for secret in secrets:
        for path in ("/ws/realtime/", "/ws/none/", "/elsewhere/"):
            socket = await connect(daphne.url, path, token=secret)
            await socket.close()
            bearer = [websockets.Subprotocol(name) for name in ("bearer", secret)]
            await (await connect(daphne.url, path, subprotocols=bearer)).close()
        for server in (daphne, gunicorn):
            for path in ("/api/users/me/", "/api/none/", "/none/", "/admin/"):
                for method in ("GET", "POST"):
                    request = (method, f"{path}?token={secret}&ticket={ticket}", secret)
                    status, _ = await asyncio.to_thread(server.request, *request)
                    assert status < 500
    assert await close_code(await connect(daphne.url, ticket=ticket)) == 4401
    await asyncio.to_thread(daphne.stop)
    await asyncio.to_thread(gunicorn.stop)

    logs = {log.name: log.read_text() for log in cluster.folder.glob("*.log")}
    assert {daphne.log.name, gunicorn.log.name} <= set(logs)
    assert any(logs.values())
    signatures = [ticket, *(secret.rpartition(".")[2] for secret in secrets)]
    for name, text in logs.items():
        assert not [part for part in signatures if part in text], name
