"""What nginx does with requests, as the rendered nginx.conf tells it to."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import connect as asyncio_connect
from websockets.sync.client import ClientConnection, connect

from ..faults.clients import Person
from ..template import TOOLS, run
from .servers import Nginx
from .stack import INSIDE, Stack

SECURITY_HEADERS = [
    "Content-Security-Policy",
    "Permissions-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
]
# The one line that gives sockets a Daphne of their own, before and after.
SOCKETS_APART = ("server backend:8000 resolve;  # or", "server sockets:8000 resolve;  # or")
# An index of HPACK's static table.
STATUS_200 = 0x88


@pytest.fixture(scope="module")
def alice(stack: Stack) -> Person:
    """Somebody with an access token."""
    return stack.person("alice")


def open_socket(stack: Stack, path: str, **options: Any) -> ClientConnection:
    """Open a WebSocket through nginx."""
    return connect(f"ws://127.0.0.1:{stack.nginx.port}{path}", proxy=None, **options)


@contextlib.contextmanager
def stopped(stack: Stack) -> Iterator[None]:
    """Stop the Daphne, and start it again."""
    stack.backends[0].stop()
    try:
        yield
    finally:
        stack.backends[0].start()


@pytest.mark.parametrize(
    ("path", "server"),
    [
        ("/api/users/me/", "Daphne"),
        ("/api/schema/", "Daphne"),
        ("/admin/login/", "Gunicorn"),
        ("/nothing-here/", "Gunicorn"),
        ("/livez", "Gunicorn"),
    ],
)
def test_requests_go_to_their_server(stack: Stack, path: str, server: str) -> None:
    """The API is Daphne's, everything else Gunicorn's."""
    assert stack.nginx.request(path).signed["server"] == server


def test_a_socket_gets_what_gunicorn_sends(stack: Stack, alice: Person) -> None:
    """A WebSocket reaches Daphne through nginx, and a notification from Gunicorn reaches it."""
    with open_socket(stack, "/ws/realtime/", subprotocols=["bearer", alice.token]) as ws:
        assert ws.subprotocol == "bearer"
        assert json.loads(ws.recv(timeout=10))["type"] == "realtime.ready"
        sent = stack.nginx.request(f"/newsroom/sync/{alice.id}/7/")
        assert sent.signed["server"] == "Gunicorn"
        assert json.loads(ws.recv(timeout=10))["number"] == 7


def test_an_idle_socket_stays_open(stack: Stack, alice: Person) -> None:
    """The server's pings keep a socket open past nginx's read timeout, 5 s here."""
    with open_socket(stack, f"/ws/realtime/?token={alice.token}", ping_interval=None) as ws:
        ws.recv(timeout=10)
        with pytest.raises(TimeoutError):
            ws.recv(timeout=8)
        stack.nginx.request(f"/newsroom/sync/{alice.id}/8/")
        assert json.loads(ws.recv(timeout=10))["number"] == 8


def test_an_event_stream_is_not_buffered(stack: Stack, alice: Person) -> None:
    """Each event comes the moment it is sent, and comment lines keep a silent one open."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.nginx.port, timeout=10)
    headers = {"Authorization": f"Bearer {alice.token}", "Accept": "text/event-stream"}
    with contextlib.closing(connection):
        connection.request("GET", "/api/streams/realtime/", headers=headers)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert b'"realtime.ready"' in line_of(answer, b"data: ")
        for _ in range(2):  # longer than nginx waits for a server here
            line_of(answer, b":")
        stack.nginx.request(f"/newsroom/sync/{alice.id}/9/")
        assert json.loads(line_of(answer, b"data: ")[6:])["number"] == 9


def line_of(answer: http.client.HTTPResponse, start: bytes) -> bytes:
    """Return the next line that begins so."""
    while line := answer.readline():
        if line.startswith(start):
            return line
    raise EOFError(start)


@pytest.mark.parametrize("path", ["/api/users/me/", "/admin/login/"])
def test_forwarded_headers_are_overwritten(stack: Stack, path: str) -> None:
    """Whatever a client claims, a server sees its address and the scheme that it came over."""
    answer = stack.nginx.request(
        path,
        source="127.0.0.7",
        X_Forwarded_For="8.8.8.8",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="evil.example",
        X_Real_IP="8.8.8.8",
        Forwarded="for=8.8.8.8;proto=https",
    )
    assert answer.signed["seen"] == {
        "HTTP_HOST": f"127.0.0.1:{stack.nginx.port}",
        "HTTP_X_FORWARDED_FOR": "127.0.0.7",
        "HTTP_X_FORWARDED_PROTO": "http",
        "HTTP_X_REAL_IP": "127.0.0.7",
    }


def test_credentials_are_limited(stack: Stack) -> None:
    """Who tries many passwords gets 429 in JSON, before Django is asked; others do not."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(
                lambda _: stack.nginx.request("/api/token/", source="127.0.0.9"), range(120)
            )
        )
    refused = next(answer for answer in answers if answer.status == 429)
    assert json.loads(refused.body) == {"detail": "Too many requests from this address."}
    assert refused.headers["Retry-After"] == "5"
    assert not unsecured(refused.headers)
    assert not refused.signed
    assert sum(answer.status != 429 for answer in answers) >= 30
    assert stack.nginx.request("/api/token/", source="127.0.0.10").status == 405
    assert stack.nginx.request("/api/users/me/", source="127.0.0.9").status == 401


@contextlib.contextmanager
def changed(stack: Stack, name: str, changes: dict[str, str]) -> Iterator[Nginx]:
    """Run one more nginx, with parts of nginx.conf replaced: limits that a test can reach, say."""
    nginx = stack.make_nginx(name, changes)
    stack.run(nginx)
    try:
        yield nginx
    finally:
        nginx.stop()


def test_handshakes_are_limited(stack: Stack, alice: Person) -> None:
    """Who opens sockets too fast gets 429 and is told when to come back; others are let in."""
    limits = {"rate=50r/s": "rate=1r/s", "burst=500": "burst=5"}
    with changed(stack, "nginx-rate", limits) as nginx:
        stack.until(lambda: opens(nginx.socket_url(alice.token)))
        refusals = [refusal(nginx, alice, "127.0.0.11") for _ in range(30)]
        assert refusals[:6] == [None] * 6
        refused = next(each for each in refusals if each)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "5"
        assert not unsecured(refused.headers)
        assert refusal(nginx, alice, "127.0.0.12") is None


def test_sockets_are_limited(stack: Stack, alice: Person) -> None:
    """An address has only so many sockets open at once, and others have theirs."""
    limits = {"limit_conn open_sockets 1000": "limit_conn open_sockets 3"}
    with changed(stack, "nginx-connections", limits) as nginx:
        stack.until(lambda: opens(nginx.socket_url(alice.token)))
        with contextlib.ExitStack() as sockets:
            for _ in range(3):
                url = nginx.socket_url(alice.token)
                sockets.enter_context(connect(url, proxy=None, source_address=("127.0.0.13", 0)))
            assert refusal(nginx, alice, "127.0.0.13").status_code == 429
            assert refusal(nginx, alice, "127.0.0.14") is None
        stack.until(lambda: refusal(nginx, alice, "127.0.0.13") is None)


def refusal(nginx: Nginx, person: Person, source: str) -> websockets.Response | None:
    """Try to open a socket from an address, and return the answer if it is refused."""
    url = nginx.socket_url(person.token)
    try:
        with connect(url, proxy=None, source_address=(source, 0)):
            return None
    except websockets.InvalidStatus as refused:
        return refused.response


def test_sockets_can_have_a_daphne_of_their_own(stack: Stack, alice: Person) -> None:
    """With one line changed sockets are `sockets`' and the API is `backend`'s, as one system."""
    first, second = stack.backends
    stack.run(second)
    with changed(stack, "nginx-sockets", dict([SOCKETS_APART])) as nginx:
        try:
            stack.until(lambda: opens(nginx.socket_url(alice.token)))
            assert nginx.request("/api/users/me/").signed["address"] == first.address
            with connect(nginx.socket_url(alice.token), proxy=None) as ws:
                ws.recv(timeout=10)
                stack.nginx.request(f"/newsroom/sync/{alice.id}/9/")
                assert json.loads(ws.recv(timeout=10))["number"] == 9
            log = nginx.log.read_text()
            assert f"upstream {second.address}:" in log
            assert not re.search(rf'"GET /ws/.* 101 .* upstream {first.address}:', log)
        finally:
            second.stop()


def test_large_bodies_are_refused(stack: Stack) -> None:
    """A body of over 1 MiB is refused in JSON, with the status that says so."""
    answer = stack.nginx.request("/api/users/me/", "PATCH", "x" * (1 << 20))
    assert answer.status == 413
    assert json.loads(answer.body) == {"detail": "The body of the request is too large."}
    assert not unsecured(answer.headers)


def test_tokens_stay_out_of_the_log(stack: Stack, alice: Person) -> None:
    """Neither a query string nor a token in a path is logged, whatever comes of the request."""
    with open_socket(stack, f"/ws/realtime/?token={alice.token}"):
        pass
    stack.nginx.request(f"/api/users/me/?token={alice.token}")
    stack.nginx.request(f"/masked/{alice.token}/")
    stack.nginx.request("/masked/" + "x" * 9000 + alice.token)
    with pytest.raises(websockets.InvalidStatus), stopped(stack):
        open_socket(stack, f"/ws/realtime/?token={alice.token}")
    stack.until(lambda: "/masked/***" in stack.nginx.log.read_text())
    log = stack.nginx.log.read_text()
    assert '"GET /ws/realtime/" 101' in log
    assert alice.token[:20] not in log
    assert "token=" not in log


def test_static_files(stack: Stack) -> None:
    """A hashed name is kept for a year, another for an hour; text is compressed."""
    manifest = json.loads((stack.project.folder / "staticfiles/staticfiles.json").read_text())
    name = "admin/css/base.css"
    hashed = stack.nginx.request(f"/static/{manifest['paths'][name]}", Accept_Encoding="gzip")
    assert hashed.status == 200
    assert hashed.headers["Content-Type"] == "text/css"
    assert hashed.headers["Content-Encoding"] == "gzip"
    assert hashed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert hashed.headers["X-Content-Type-Options"] == "nosniff"
    assert not hashed.signed
    plain = stack.nginx.request(f"/static/{name}")
    assert plain.headers["Cache-Control"] == "public, max-age=3600"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("page.html", "application/octet-stream"),
        ("page.xhtml", "application/octet-stream"),
        ("script.js", "application/octet-stream"),
        ("drawing.svg", "application/octet-stream"),
        ("photo.png", "image/png"),
    ],
)
def test_media_files(stack: Stack, name: str, content_type: str) -> None:
    """An upload is a picture, a sound, a film or a download, and never runs as a page."""
    (stack.nginx.srv / "media" / name).write_text("<script>alert(1)</script>")
    answer = stack.nginx.request(f"/media/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    "path",
    [
        "/admin/login/",
        "/api/docs/",
        "/api/users/me/",
        "/livez",
        "/media/no",
        "/nothing/",
        "/static/admin/css/base.css",
        "/static/no",
        "/ws/nothing/",
    ],
)
def test_security_headers(stack: Stack, path: str) -> None:
    """Each answer has each of them once, errors too."""
    headers = stack.nginx.request(path).headers
    assert not unsecured(headers)
    assert "/" not in headers["Server"]


def test_the_api_says_in_json_that_its_server_is_away(stack: Stack, alice: Person) -> None:
    """While Daphne is down the API answers 502 in JSON and the rest works; then all recovers."""
    with stopped(stack):
        answer = stack.nginx.request("/api/users/me/")
        assert answer.status == 502
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert not unsecured(answer.headers)
        assert json.loads(answer.body) == {"detail": "The server cannot answer at the moment."}
        assert stack.nginx.request("/admin/login/").status == 200
        assert refusal(stack.nginx, alice, "127.0.0.1").status_code == 502
    stack.until(lambda: stack.status("/api/users/me/") == 401)
    stack.until(lambda: refusal(stack.nginx, alice, "127.0.0.1") is None)


@pytest.mark.parametrize("variant", ["as rendered", "with TLS", "with a Daphne for sockets"])
def test_the_linter_is_content(stack: Stack, tmp_path: Path, variant: str) -> None:
    """Gixy, which knows how an nginx.conf goes wrong, finds nothing."""
    changes = {"with TLS": ("#tls ", ""), "with a Daphne for sockets": SOCKETS_APART}
    conf = tmp_path / "nginx.conf"
    text = (stack.project.folder / "nginx.conf").read_text("utf-8")
    conf.write_text(text.replace(*changes.get(variant, ("", ""))))
    done = run([TOOLS / "gixy", "--disable-includes", conf])
    assert done.returncode == 0, done.stdout


def test_tls(stack: Stack, alice: Person) -> None:
    """With the TLS lines taken in nginx speaks HTTPS, HTTP/2 and wss, and sends http there."""
    certificates = stack.folder / "certificates"
    run([stack.project.python, INSIDE / "certificate.py", certificates]).check_returncode()
    nginx = stack.make_nginx("nginx-tls", {"#tls ": ""})
    tested = run([*nginx.command, "-t"])
    assert tested.returncode == 0, tested.stdout
    assert "[warn]" not in tested.stdout
    stack.run(nginx)
    try:
        moved = nginx.request("/api/users/me/?a=b", Host="localhost")
        assert moved.status == 308
        assert moved.headers["Location"] == "https://localhost/api/users/me/?a=b"
        assert not unsecured(moved.headers)

        context = ssl.create_default_context(cafile=certificates / "fullchain.pem")
        address = f"wss://localhost:{nginx.tls_port}/ws/realtime/?token={alice.token}"
        stack.until(lambda: asyncio.run(opens_securely(address, context)))

        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", nginx.tls_port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            assert secure.selected_alpn_protocol() == "h2"
            assert http2_status(secure, b"/livez") == STATUS_200
    finally:
        nginx.stop()


def unsecured(headers: Any) -> list[str]:
    """Return the security headers that an answer does not have exactly once."""
    return [name for name in SECURITY_HEADERS if len(headers.get_all(name) or []) != 1]


def http2_status(connection: ssl.SSLSocket, path: bytes) -> int:
    """Send a request over HTTP/2 and return the first byte of the answer's headers (RFC 7541)."""
    fields = b"\x82\x87"  # GET, https
    for index, value in ((1, b"localhost"), (4, path)):
        fields += bytes([index, len(value)]) + value
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(0x4, 0, 0, b""))
    connection.sendall(frame(0x1, 0x5, 1, fields))
    with connection.makefile("rb") as answer:
        while True:
            head = answer.read(9)
            block = answer.read(int.from_bytes(head[:3]))
            if head[3] == 0x1:
                # The table of names may change its size first.
                return block.lstrip(bytes(range(0x20, 0x40)))[0]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, section 4.1)."""
    head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
    return head + payload


def opens(address: str) -> bool:
    """Return whether a socket opens and is told that it is ready."""
    try:
        with connect(address, proxy=None) as ws:
            return json.loads(ws.recv(timeout=10))["type"] == "realtime.ready"
    except websockets.InvalidStatus:
        return False


async def opens_securely(address: str, context: ssl.SSLContext) -> bool:
    """Say the same of one with TLS, which the two threads of the other client may get stuck in."""
    try:
        async with asyncio_connect(address, ssl=context, proxy=None) as ws, asyncio.timeout(10):
            return json.loads(await ws.recv())["type"] == "realtime.ready"
    except websockets.InvalidStatus:
        return False
