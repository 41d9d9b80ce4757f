"""The project on ASGI servers other than its own: signing in, and a socket from start to end."""

import asyncio
import contextlib
import json
import re
import signal
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from ..faults.cluster import Cluster
from ..faults.process import free_port
from ..faults.project import Project
from ..faults.servers import Daphne, WebServer
from ..template import ROOT, python_with
from .sockets import close_code, connect, ready
from .test_rest import post, sign_up

pytestmark = pytest.mark.xdist_group("servers")

# What the servers are and need, on top of the project's own requirements.
PACKAGES = {
    *("uvicorn", "hypercorn", "granian"),
    *("click", "h11", "h2", "hpack", "hyperframe", "priority", "websockets", "wsproto"),
}
STOP_SECONDS = 15

# Server -> its options, up to the port.
SERVERS = {
    "uvicorn": ("--lifespan", "on", "--port", "{}"),
    "hypercorn": ("--bind", "127.0.0.1:{}"),
    "granian": ("--interface", "asgi", "--port", "{}"),
}
# Server -> the code with which it closes a socket when it stops.
STOPPED = {
    "uvicorn": 1012,
    # It waits until its clients have gone: https://github.com/pgjones/hypercorn/issues/308
    "hypercorn": 1000,
    # It drops the connection.
    "granian": None,
}


class OtherServer(WebServer):
    """One of those servers."""

    def __init__(self, name: str, cluster: Cluster, python: Path) -> None:
        super().__init__(name, cluster.folder)
        self.port = free_port()
        options = [option.format(self.port) for option in SERVERS[name]]
        self.command = [str(python.with_name(name)), "backend.asgi:application", *options]
        # What the layer has lost would come with the tick: nothing may be.
        environment = cluster.environment | {"REALTIME_TICK_SECONDS": "3600"}
        self.options = {"cwd": cluster.project.folder, "env": environment}
        self.url = f"ws://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def python(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the project's requirements and the servers that the template has locked."""
    lock = (project.folder / "requirements-dev.txt").read_text("utf-8")
    template = (ROOT / "requirements.txt").read_text("utf-8")
    found = re.findall(r"(?m)^(([\w-]+)==.*(?:\n    .*)*\n)", template)
    theirs = {name: block for block, name in found}
    missing = [name for name in PACKAGES if not re.search(rf"(?m)^{name}==", lock)]
    path = tmp_path_factory.mktemp("servers") / "requirements.txt"
    path.write_text(lock + "".join(theirs[name] for name in sorted(missing)))
    return python_with(path)


@pytest.fixture
def database() -> str:
    """A database in a file is enough."""
    return "sqlite"


@pytest.mark.parametrize("name", SERVERS)
async def test_flows(cluster: Cluster, python: Path, name: str) -> None:
    """REST works, sockets get events and the right close codes, and the end leaves no row."""
    await cluster.run(cluster.redis)
    server: Any = await cluster.run(OtherServer(name, cluster, python))

    # Sign in over REST, and read with the token.
    ada, grace = [await asyncio.to_thread(sign_up, server, name) for name in ("ada", "grace")]
    status, me = await asyncio.to_thread(server.request, "GET", "/api/users/me/", ada.access)
    assert (status, json.loads(me)["username"]) == (200, "ada")
    user = json.loads(me)["id"]

    # An event that another process sends.
    socket = await ready(server.url, token=ada.access)
    await cluster.do("notify", user=user)
    assert (await frame(socket))["seq"] == 1
    await socket.send('{"type": "realtime.ping"}')
    assert await frame(socket) == {"type": "realtime.pong"}

    # Subprotocols, and a client that leaves.
    other = await ready(server.url, subprotocols=["bearer", ada.access])
    assert other.subprotocol == "bearer"
    await other.close()
    assert other.close_code == 1000

    # Those who may not.
    async with asyncio.timeout(STOP_SECONDS):
        assert await close_code(await connect(server.url, token="nonsense")) == 4401
        assert await close_code(await connect(server.url, "/ws/nowhere/")) == 4404
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(
                f"{server.url}/ws/realtime/?token={ada.access}",
                origin="https://elsewhere.example.com",
                proxy=None,
            )
        assert refused.value.response.status_code == 403
        large = await ready(server.url, token=ada.access)
        await large.send("x" * 66_000)
        assert await close_code(large) == 4413

    # Logging out closes one's own sockets and no others.
    others = await ready(server.url, token=grace.access)
    await asyncio.to_thread(post, server, "/api/token/blacklist/", refresh=ada.refresh)
    async with asyncio.timeout(STOP_SECONDS):
        assert await close_code(socket) == 4401
    await others.send('{"type": "realtime.ping"}')
    assert await frame(others) == {"type": "realtime.pong"}

    # The end.
    process = server.running
    process.send_signal(signal.SIGTERM)
    if name == "hypercorn":
        await others.close()
    async with asyncio.timeout(STOP_SECONDS):
        assert await close_code(others) == STOPPED[name]
    assert await asyncio.to_thread(process.wait, STOP_SECONDS) in (0, -signal.SIGTERM)
    assert rows(cluster) == 0
    assert "Traceback" not in server.log.read_text()


async def test_redis_on_a_socket_file(cluster: Cluster) -> None:
    """The layer, the cache and the probe reach a Redis by its socket file."""
    # The path of a socket may have some hundred characters only.
    with tempfile.TemporaryDirectory() as folder:
        cluster.redis.command += ["--unixsocket", f"{folder}/redis.sock"]
        cluster.redis_url = f"unix://{folder}/redis.sock?db=1"
        await cluster.run(cluster.redis)
        environment = cluster.environment | {"REALTIME_TICK_SECONDS": "3600"}
        daphne: Any = await cluster.run(
            Daphne("daphne", cluster.folder, cluster.project, environment)
        )
        ada = await asyncio.to_thread(sign_up, daphne, "ada")
        user = json.loads(daphne.request("GET", "/api/users/me/", ada.access)[1])["id"]
        socket = await ready(daphne.url, token=ada.access)

        await cluster.do("notify", user=user)

        async with asyncio.timeout(STOP_SECONDS):
            assert (await frame(socket))["seq"] == 1
        status, answer = await asyncio.to_thread(daphne.request, "GET", "/readyz")
        assert (status, json.loads(answer)["redis"]) == (200, "ok")
        assert cluster.redis.ask("DBSIZE") == "0"
        assert "keys=" in cluster.redis.ask("INFO keyspace")
        await socket.close()


async def frame(connection: ClientConnection) -> dict[str, Any]:
    """Return the next frame."""
    return json.loads(await connection.recv())


def rows(cluster: Cluster) -> int:
    """Count the rows of open sockets and of processes."""
    file = cluster.database_url.removeprefix("sqlite:///")
    query = "SELECT (SELECT count(*) FROM realtime_connection) + count(*) FROM realtime_process"
    with contextlib.closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchone()[0]
