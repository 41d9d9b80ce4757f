"""What an error tracker is told by a server that uses it as the README says."""

import asyncio
import gzip
import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..faults.cluster import Cluster
from ..faults.process import wait_for
from ..faults.servers import Daphne
from .sockets import close_code, ready

pytestmark = pytest.mark.xdist_group("connections")

INSIDE = Path(__file__).with_name("inside")
# The tracker's client and what that imports, for the project's Python, which has none of them.
PACKAGES = ("sentry_sdk", "urllib3", "certifi")
WAIT_SECONDS = 20


class Tracker(ThreadingHTTPServer):
    """Takes what Sentry's client sends, as Sentry does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Envelope)
        self.envelopes: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}).start()

    @property
    def text(self) -> str:
        """Everything that was sent."""
        return "\n".join(self.envelopes)


class Envelope(BaseHTTPRequestHandler):
    """One request of the client."""

    server: Tracker

    def do_POST(self) -> None:
        """Keep the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.envelopes.append(body.decode())
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """A tracker, for as long as the test."""
    tracker = Tracker()
    yield tracker
    tracker.shutdown()
    tracker.server_close()


@pytest.mark.parametrize("scrubbed", [True, False])
async def test_faults(cluster: Cluster, tracker: Tracker, tmp_path: Path, scrubbed: bool) -> None:
    """Faults are reported without a token, which they have some of where `scrub` is left out."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in PACKAGES:
        (found,) = importlib.util.find_spec(name).submodule_search_locations
        (packages / name).symlink_to(found)
    await cluster.run(cluster.redis)
    environment = cluster.environment
    environment |= {
        "DJANGO_SETTINGS_MODULE": "tracked.settings",
        "PYTHONPATH": f"{INSIDE}:{packages}:{environment['PYTHONPATH']}",
        "SENTRY_DSN": f"http://public@127.0.0.1:{tracker.server_port}/1",
    } | ({} if scrubbed else {"UNSCRUBBED": "1"})
    daphne = await cluster.run(Daphne("daphne", cluster.folder, cluster.project, environment))
    (person,) = await cluster.people(1)
    token = person.token
    tickets = [
        json.loads(daphne.request("POST", "/api/realtime/ticket/", token)[1])["ticket"]
        for _ in range(2)
    ]

    # A view that notifies nobody, and a consumer that sleeps for no number of seconds.
    query = f"?token={token}&ticket={tickets[0]}"
    assert daphne.request("GET", f"/newsroom/sync/0/1/{query}", token)[0] == 500
    socket = await ready(daphne.url, path="/ws/newsroom/", ticket=tickets[1])
    frame = {"type": "newsroom.sleep", "seconds": "x", "token": token, "ticket": tickets[0]}
    await socket.send(json.dumps(frame))
    assert await close_code(socket) == 1011

    def told() -> bool:
        return all(name in tracker.text for name in ("ValueError", "newsroom.sleep"))

    assert await asyncio.to_thread(wait_for, told, time.monotonic() + WAIT_SECONDS)
    leaked = [secret for secret in (token, *tickets) if secret in tracker.text]
    if scrubbed:
        assert leaked == []
        assert "***" in tracker.text
    else:
        assert token in leaked
        assert tickets[0] in leaked
