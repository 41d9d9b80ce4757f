"""A token in an address is in no log, whatever the request is answered."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import websockets
from websockets.sync.client import connect

from ..faults.servers import Daphne, Gunicorn, WebServer
from .stack import Stack

# The only way in that every server answers 429 to: a second request within the minute.
ONCE = {"TOKEN_RATE": "1/min"}


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    """An access token."""
    return stack.person("mallory").token


@pytest.fixture(scope="module")
def servers(stack: Stack) -> Iterator[list[WebServer]]:
    """A Daphne and a Gunicorn that are asked directly."""
    servers = [
        kind(name, stack.folder, stack.project, stack.environment | ONCE)
        for kind, name in ((Daphne, "daphne-alone"), (Gunicorn, "gunicorn-alone"))
    ]
    for server in servers:
        stack.run(server)
    yield servers
    for server in servers:
        server.stop()


def handshake(port: int, path: str, **options: str) -> int:
    """Open a socket and return the status of the handshake."""
    try:
        with connect(f"ws://127.0.0.1:{port}{path}", proxy=None, **options) as socket:
            with contextlib.suppress(websockets.ConnectionClosed, TimeoutError):
                socket.recv(timeout=5)
            return 101
    except websockets.InvalidStatus as refusal:
        return refusal.response.status_code


def test_nginx(stack: Stack, token: str) -> None:
    """The proxy logs every status with the path alone."""
    marker = len(stack.nginx.log.read_text())
    secret = f"?token={token}"

    def get(path: str, **options: str) -> int:
        return stack.nginx.request(path + secret, **options).status

    socket = f"/ws/realtime/{secret}"
    assert handshake(stack.nginx.port, socket) == 101
    assert handshake(stack.nginx.port, socket, origin="https://evil.example") == 403
    assert get("/api/users/me/") == 401
    assert get("/admin/login/", method="POST") == 403
    assert get("/api/nothing/") == get("/nothing/") == 404
    with ThreadPoolExecutor(8) as threads:
        tries = threads.map(lambda _: get("/api/token/", source="127.0.0.11"), range(120))
        assert 429 in set(tries)
    stack.backends[0].stop()
    try:
        assert get("/api/users/me/") == 502
        assert handshake(stack.nginx.port, socket) == 502
    finally:
        stack.backends[0].start()
    stack.until(lambda: stack.status("/api/users/me/") == 401)

    for status in (101, 401, 403, 404, 429, 502):
        stack.until(lambda status=status: f'" {status} ' in stack.nginx.log.read_text()[marker:])
    refuse(stack, token)


def test_servers(stack: Stack, servers: list[WebServer], token: str) -> None:
    """Daphne and Gunicorn have nothing to hide either."""
    secret = f"?token={token}"
    daphne, _ = servers
    assert handshake(daphne.port, f"/ws/realtime/{secret}") == 101
    assert handshake(daphne.port, f"/ws/nothing/{secret}") == 101
    assert handshake(daphne.port, f"/ws/realtime/{secret}", origin="https://evil.example") == 403
    for server in servers:
        assert server.request("GET", f"/api/users/me/{secret}")[0] == 401
        assert server.request("GET", f"/api/users/me/{secret}", token)[0] == 200
        assert server.request("POST", f"/admin/login/{secret}")[0] == 403
        assert server.request("GET", f"/api/nothing/{secret}", token)[0] == 404
        assert server.request("GET", f"/nothing/{secret}")[0] == 404
        statuses = [server.request("POST", f"/api/token/{secret}")[0] for _ in range(3)]
        assert 429 in statuses  # not the last one, should a minute begin in between
    refuse(stack, token)


def refuse(stack: Stack, token: str) -> None:
    """Fail if a log has the token."""
    signature = token.rpartition(".")[2]
    for process in stack.processes:
        assert signature[:20] not in process.log.read_text(errors="replace"), process.name
