"""What the JavaScript of a page sees of its sockets."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ..stack.stack import Stack
from .chromium import Visitor

pytestmark = pytest.mark.xdist_group("browser")

CONNECT = "token => connect('/ws/realtime/', ['bearer', token])"
PROTOCOL = "(...socket) => connect(...socket).opened"
CODE = "async (...socket) => (await connect(...socket).closed).code"


@pytest.fixture
def foreign_origin() -> Iterator[str]:
    """A server of somebody else, with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


def test_notification(page: Visitor, person: dict, stack: Stack) -> None:
    """A page signs in, opens a socket with its token, and is notified; nothing is amiss."""
    me = page.do("get", "/api/users/me/", person["access"])
    socket = page.page.evaluate_handle(CONNECT, person["access"])
    assert socket.evaluate("socket => socket.opened") == "bearer"
    assert socket.evaluate("socket => socket.frame(1)")["type"] == "realtime.ready"

    stack.nginx.request(f"/newsroom/sync/{me['id']}/7/")

    event = socket.evaluate("socket => socket.frame(2)")
    assert (event["number"], event["seq"]) == (7, 1)
    assert page.complaints == []


def test_a_ticket(page: Visitor, person: dict) -> None:
    """A page buys a ticket, which opens one socket, so that its token is in no address."""
    bought = page.do("token => post('/api/realtime/ticket/', {}, token)", person["access"])
    path = f"/ws/realtime/?ticket={bought['ticket']}"

    assert page.do(PROTOCOL, path) == ""
    assert page.do(CODE, path) == 4401


@pytest.mark.parametrize(
    ("path", "protocols"),
    [
        ("/ws/realtime/", []),
        ("/ws/realtime/?token=nonsense", []),
        ("/ws/realtime/", ["bearer", "nonsense"]),
    ],
)
def test_not_authenticated(page: Visitor, path: str, protocols: list[str]) -> None:
    """Without a good token the page sees 4401, not merely that something went wrong."""
    assert page.do(CODE, path, protocols) == 4401


def test_logout(page: Visitor, person: dict) -> None:
    """Logging out closes the open socket with 4401, and no new one opens."""
    seen = page.do(
        """async ({ access, refresh }) => {
            const { opened, closed } = connect("/ws/realtime/", ["bearer", access]);
            await opened;
            await post("/api/token/blacklist/", { refresh });
            const again = connect("/ws/realtime/", ["bearer", access]);
            return [await closed, await again.closed];
        }""",
        person,
    )
    assert seen == [{"code": 4401, "clean": True}] * 2


def test_somebody_elses_room(page: Visitor, person: dict, accounts: Iterator[str]) -> None:
    """Who is no member of a room sees 4403."""
    owner = page.do("register", next(accounts))
    room = page.do("token => post('/api/chat/rooms/', { name: 'Lobby' }, token)", owner["access"])

    assert page.do(CODE, f"/ws/chat/{room['slug']}/", ["bearer", person["access"]]) == 4403


@pytest.mark.parametrize("path", ["/ws/nothing/", "/ws/chat/nowhere/"])
def test_nothing_there(page: Visitor, person: dict, path: str) -> None:
    """An unknown path or room is 4404."""
    assert page.do(CODE, path, ["bearer", person["access"]]) == 4404


def test_a_foreign_page(
    page: Visitor,
    person: dict,
    stack: Stack,
    visitor: Callable[[str], Visitor],
    foreign_origin: str,
) -> None:
    """A page of another site gets no socket, even with a good token, and does not learn why."""
    socket = (f"ws://127.0.0.1:{stack.nginx.port}/ws/realtime/", ["bearer", person["access"]])
    foreigner = visitor(foreign_origin)
    foreigner.visit("/")

    assert foreigner.do(CODE, *socket) == 1006
    assert any("Unexpected response code: 403" in text for text in foreigner.complaints)
    assert page.do(PROTOCOL, *socket) == "bearer"


def test_a_stopping_server(page: Visitor, person: dict, stack: Stack) -> None:
    """A server that is stopped says 4412, so that the page comes back somewhere else."""
    socket = page.page.evaluate_handle(CONNECT, person["access"])
    socket.evaluate("socket => socket.opened")

    (daphne, *_) = stack.backends
    daphne.stop()
    try:
        assert socket.evaluate("socket => socket.closed") == {"code": 4412, "clean": True}
    finally:
        daphne.start()
        stack.until(lambda: stack.status("/api/users/me/") == 401)
