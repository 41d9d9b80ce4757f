"""The project's Daphne as a process of its own, with a real client."""

import asyncio
import json
import math
import re
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import websockets
from asgiref.sync import sync_to_async
from django.conf import settings
from realtime.notification import notify_user
from realtime.server import GC_THRESHOLDS, WebSocketProtocol
from realtime.tests.frames_schema import check_frame
from realtime.tests.sockets import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)

LISTENING = re.compile(r"Listening on TCP address 127\.0\.0\.1:(\d+)\n")


@pytest.fixture
async def server(process_environment, access_token, tmp_path):
    """A function that starts the server with settings, and stops it after the test."""
    processes = []
    path = tmp_path / "server.log"
    log = path.open("w")

    async def start(**values):
        name = f"settings_{len(processes)}"
        # Without Redis the events of another process arrive with the tick.
        lines = [
            f"{key} = {value}" for key, value in {"REALTIME_TICK_SECONDS": 0.2, **values}.items()
        ]
        (tmp_path / f"{name}.py").write_text(
            "\n".join(["from backend.settings_test import *", *lines, ""])
        )
        # The system chooses the port, so that nobody else can take it before the server does.
        process = subprocess.Popen(
            [sys.executable, "-m", "realtime.server", "--port", "0"],
            cwd=settings.BASE_DIR,
            env=process_environment | {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": name},
            stderr=log,
        )
        processes.append(process)
        async with asyncio.timeout(PATIENCE * 3):
            while len(ports := LISTENING.findall(path.read_text())) < len(processes):
                assert process.poll() is None, "the server did not start"
                await asyncio.sleep(0.05)
        return process, int(ports[-1])

    yield start
    for process in processes:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE * 2)
    log.close()


@pytest.fixture
def connect(access_token):
    """A function that opens a socket on a port and reads its first frame."""

    @asynccontextmanager
    async def connect(port, compression=None, **query):
        query = {"token": access_token, **query}
        url = f"ws://127.0.0.1:{port}/ws/realtime/?{urlencode(query)}"
        async with websockets.connect(url, compression=compression) as client:
            assert check_frame(await client.recv())["type"] == "realtime.ready"
            yield client

    return connect


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def handshake(port, path, *headers):
    """Return the request that opens a socket."""
    lines = (
        *(f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket"),
        *("Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        *("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *headers, "", ""),
    )
    return "\r\n".join(lines).encode("latin-1")


async def until_closed(client):
    """Return a client's frames until the server closes."""
    with suppress(websockets.ConnectionClosed):
        while True:
            yield await asyncio.wait_for(client.recv(), PATIENCE)


async def test_a_client_that_sends_too_much_learns_why_it_is_closed(server, connect):
    """A frame over the limit closes with 4413; a burst is allowed, a flood closes with 4429."""
    _, port = await server(
        REALTIME_MAX_FRAME_BYTES=1000, REALTIME_FRAMES_BURST=5, REALTIME_FRAMES_PER_SECOND=1
    )
    async with connect(port) as client:
        await client.send("x" * 1001)
        assert [frame async for frame in until_closed(client)] == []
        assert client.close_code == 4413

    async with connect(port) as client:
        for _ in range(50):
            await client.send('{"type": "realtime.ping"}')
        pongs = [json.loads(frame) async for frame in until_closed(client)]
        assert client.close_code == 4429
        assert len(pongs) < 50


async def test_what_is_no_message_is_counted_too(server, connect):
    """A flood of pings, or of pieces of a message that never ends, closes with 4429 as well."""
    _, port = await server(REALTIME_FRAMES_BURST=5, REALTIME_FRAMES_PER_SECOND=1)
    begin, mask = bytes.fromhex("0180"), bytes(4)
    for frame in ("8980", "0080"):
        async with connect(port) as client:
            client.transport.write(begin + mask + (bytes.fromhex(frame) + mask) * 50)
            assert [frame async for frame in until_closed(client)] == []
            assert client.close_code == 4429


async def test_pings_of_a_client_that_reads_no_answer(server, access_token, tmp_path):
    """The answers are buffered up to the cap, and then the client is cut off."""
    _, port = await server(REALTIME_BUFFER_BYTES=100000, REALTIME_FRAMES_BURST=1000000)
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.connect(("127.0.0.1", port))
    # The reader keeps a few bytes at most, and nobody takes them.
    _, writer = await asyncio.open_connection(sock=own, limit=1)
    writer.write(handshake(port, f"/ws/realtime/?token={access_token}"))

    writer.write((b"\x89\xfd" + bytes(4 + 125)) * 100_000)

    async with asyncio.timeout(PATIENCE * 3):
        while "reads too slowly" not in (tmp_path / "server.log").read_text():
            await asyncio.sleep(0.05)
    writer.transport.abort()


async def test_odd_headers_of_a_handshake(server, tmp_path):
    """A header that means something to Daphne alone, or nothing, makes no fault of the server."""
    _, port = await server()
    for header, answer in (
        ("Origin: null", "403"),
        ("Origin: http://[", "400"),
        ("Sec-WebSocket-Protocol: bearer, \xe9", "400"),
        ("Sec-WebSocket-Protocol: bearer%2C%20token", "101"),
        ("Daphne-Root-Path: /ws", "101"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(handshake(port, "/ws/realtime/", header))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)

        assert head.startswith(f"HTTP/1.1 {answer} ".encode()), header
        if answer == "101":
            # There is no token, and the path is the one that was asked for.
            assert await asyncio.wait_for(reader.readexactly(4), PATIENCE) == b"\x88\x02\x11\x31"
        writer.close()
    assert "Traceback" not in (tmp_path / "server.log").read_text()

    # No request says where the project is mounted: a path stays what it looks like to a proxy.
    path, headers = "/api/nothing/api/users/me/", {"Daphne-Root-Path": "/api/nothing"}
    request = Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with pytest.raises(HTTPError, match="404"):
        await asyncio.to_thread(urlopen, request)


async def test_a_body_that_is_too_large_is_not_kept(server):
    """The answer is 413, whether or not the client says beforehand how much will come."""
    _, port = await server(DAPHNE_MAX_BODY_BYTES=100000)
    for chunked in (False, True):
        head = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000000"
        lines = ("POST /api/token/ HTTP/1.1", "Host: localhost", "Connection: close", head, "", "")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        writer.write("\r\n".join(lines).encode())
        for _ in range(10):
            writer.write(b"186a0\r\n" * chunked + b"x" * 100_000 + b"\r\n" * chunked)
        writer.write(b"0\r\n\r\n" * chunked)
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"The body of the request is too large." in answer


async def test_a_reader_that_is_too_slow_is_closed_with_4408(server, user, access_token, tmp_path):
    """A client that stops reading is cut off at the cap; what was buffered still arrives."""
    _, port = await server(REALTIME_BUFFER_BYTES=300000)
    url = f"ws://127.0.0.1:{port}/ws/realtime/?token={access_token}"
    # A small window and no queue of its own: the client takes nothing until it is asked to.
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.connect(("127.0.0.1", port))
    own.setblocking(False)
    async with websockets.connect(url, sock=own, compression=None, max_queue=1) as client:
        ready = json.loads(await client.recv())
        for n in range(200):
            await sync_to_async(notify_user)(user.pk, {"n": n, "text": "x" * 50_000})
        async with asyncio.timeout(PATIENCE * 3):
            while "reads too slowly" not in (tmp_path / "server.log").read_text():
                await asyncio.sleep(0.05)
        seqs = [json.loads(frame)["seq"] async for frame in until_closed(client)]

    assert seqs == list(range(ready["seq"] + 1, ready["seq"] + 1 + len(seqs)))
    assert len(seqs) < 200
    # A client that takes more than five seconds to read that far is dropped, and sees 1006.
    assert client.close_code in (4408, 1006)


def test_a_write_that_cannot_be_direct_is_left_to_the_caller():
    """Compression, TLS and whatever else is not plain TCP take the usual way."""
    protocol = WebSocketProtocol()
    protocol.transport, protocol.state = object(), protocol.STATE_OPEN

    assert not protocol.write_frames(b"frames")


def test_what_sockets_leave_behind_is_collected_in_time():
    """Some seventy objects and 14 KB each: before there are many thousands of them."""
    assert math.prod(GC_THRESHOLDS) <= 70 * 10_000


async def test_a_database_that_cannot_be_had_closes_with_1011(server, user, access_token, held):
    """A code that autobahn itself would not send for an application."""
    _, port = await server(REALTIME_LOCK_TIMEOUT_SECONDS=0.2)
    url = f"ws://127.0.0.1:{port}/ws/realtime/?token={access_token}"

    with held(lambda: type(user).objects.select_for_update().get(pk=user.pk)):
        async with websockets.connect(url) as client:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(client.recv(), PATIENCE * 3)

    assert closed.value.rcvd.code == 1011


async def test_prometheus_is_told_of_sockets_and_close_codes(server, connect):
    """A port of its own, on request, counts the open sockets and those that were closed here."""
    metrics = free_port()
    _, port = await server(METRICS_PORT=metrics, REALTIME_MAX_FRAME_BYTES=1000)

    def scrape():
        with urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:  # nosec B310
            return answer.read().decode()

    async with connect(port), connect(port) as client:
        assert "\nrealtime_sockets 2.0\n" in await asyncio.to_thread(scrape)
        await client.send("x" * 1001)
        assert [frame async for frame in until_closed(client)] == []
        async with asyncio.timeout(PATIENCE):
            closed = 'realtime_closed_total{code="4413"} 1.0\n'
            while closed not in await asyncio.to_thread(scrape):
                await asyncio.sleep(0.05)
        assert "\nrealtime_sockets 1.0\n" in await asyncio.to_thread(scrape)
