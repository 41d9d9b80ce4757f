"""The project's Daphne as a process of its own, with a real client."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import websockets
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import load_command_class

from realtime.models import Connection
from realtime.notification import notify_user
from realtime.server import Server

from .frames_schema import check_frame
from .sockets import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)

LISTENING = re.compile(r"Listening on TCP address 127\.0\.0\.1:(\d+)$")
# Without Redis the events of another process arrive with the tick.
SETTINGS = "from backend.settings_test import *\n\nREALTIME_TICK_SECONDS = 0.1\n"


class Running:
    """A server on a port that the system has chosen, so that nobody else can take it before."""

    def __init__(self, environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "realtime.server", "--port", "0"],
            cwd=settings.BASE_DIR,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        said = []
        for line in self.process.stderr:
            said.append(line)
            if listening := LISTENING.search(line):
                self.port = int(listening[1])
                return
        raise RuntimeError(f"the server did not start: {''.join(said)}")

    def stop(self):
        """Stop it as an operator does; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE * 2)
        return self.process.returncode


@pytest.fixture(scope="module")
def servers(process_environment, tmp_path_factory):
    """The servers of this module: one, and another one should a test have ended that."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "settings_server.py").write_text(SETTINGS)
    own = {"PYTHONPATH": str(folder), "DJANGO_SETTINGS_MODULE": "settings_server"}
    servers: list[Running] = []

    def running():
        if not servers or servers[-1].process.poll() is not None:
            servers.append(Running(process_environment | own))
        return servers[-1]

    yield running
    for server in servers:
        server.stop()


@pytest.fixture
def server(servers):
    """A server that runs."""
    return servers()


@pytest.fixture
def connect(server, access_token):
    """A function that opens a socket and reads its first frame.

    When it is closed the server forgets it, before the database is emptied.
    """

    @asynccontextmanager
    async def connect(compression=None, **query):
        others = await Connection.objects.acount()
        query = {"token": access_token, **query}
        url = f"ws://127.0.0.1:{server.port}/ws/realtime/?{urlencode(query)}"
        async with websockets.connect(url, compression=compression) as client:
            assert check_frame(await client.recv())["type"] == "realtime.ready"
            yield client
        await until(lambda: Connection.objects.count() <= others)

    return connect


async def test_events_reach_a_real_client_in_order(connect, user):
    """What another process pushes arrives over TCP, in order, also after a reconnect."""
    async with connect() as client:
        for n in range(50):
            await sync_to_async(notify_user)(user.pk, {"n": n, "text": "é" * n})
        received = [check_frame(await client.recv()) for _ in range(50)]
    assert [event["seq"] for event in received] == list(range(1, 51))

    epoch = str((await sync_to_async(lambda: user.event_stream)()).epoch)
    # Whatever a client offers, it gets its events.
    async with connect(compression="deflate", since=40, epoch=epoch) as client:
        assert [json.loads(await client.recv())["seq"] for _ in range(10)] == list(range(41, 51))


def test_the_same_server_answers_requests(server, user, access_token):
    """REST and sockets need no other process."""
    request = Request(
        f"http://127.0.0.1:{server.port}/api/users/me/",
        headers={"Authorization": f"Bearer {access_token}"},
    )

    with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        assert json.load(answer)["username"] == user.username


async def test_a_stopping_server_says_so_and_exits(server, connect):
    """SIGTERM closes every socket with 4412, and the process ends by itself."""
    async with connect() as first, connect() as second:
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        for client in (first, second):
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(client.recv(), PATIENCE)
            assert client.close_code == 4412

    assert await stopping == 0


def test_runserver_runs_the_same_server():
    """Development has the limits and the direct writes of production."""
    command: Any = load_command_class("realtime", "runserver")

    assert command.server_cls is Server
