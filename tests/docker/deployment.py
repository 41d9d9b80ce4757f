"""A rendered project, deployed with its own make targets, and as its clients see it."""

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from ..faults.process import free_port, wait_for
from ..template import run

WAIT_SECONDS = 60
UNAUTHORIZED = 401
PASSWORD = "pass-word-9"


class Deployment:
    """One project, its image and its containers."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.image = project.name
        self.port = free_port()
        self.environment = os.environ | {
            "HTTP_PORT": f"127.0.0.1:{self.port}",
            "WSGI_PORT": f"127.0.0.1:{free_port()}",
        }

    def make(self, *words: str) -> str:
        """Run make in the project and return what it prints."""
        return self.command("make", "--silent", *words)

    def compose(self, *words: str) -> str:
        """Run docker compose in the project and return what it prints."""
        return self.command("docker", "compose", *words)

    def manage(self, *words: str) -> str:
        """Run manage.py in the container of Gunicorn."""
        return self.compose("exec", "-T", "wsgi", "python", "manage.py", *words)

    def command(self, *words: str, **variables: str) -> str:
        """Run a command in the project and return what it prints; it must succeed."""
        done = run(list(words), cwd=self.project, env=self.environment | variables)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}"
        return done.stdout

    def refused(self, *words: str) -> str:
        """Run make in the project and return what it prints; it must fail."""
        done = run(["make", "--silent", *words], cwd=self.project, env=self.environment)
        assert done.returncode != 0, done.stdout
        return done.stdout

    def request(self, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """Send a request, a POST if there is a body, and give status and JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            text = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, text, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def register(self, name: str) -> None:
        """Make a user, as a client does."""
        account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        status, answer = self.request("/api/users/", account)
        assert status == 201, answer

    def log_in(self, name: str) -> str:
        """Return an access token, as soon as the servers answer."""
        self.until(self.answers)
        status, answer = self.request("/api/token/", {"username": name, "password": PASSWORD})
        assert status == 200, answer
        return answer["access"]

    def answers(self) -> bool:
        """Return whether the API answers to a stranger, whose attempts it counts elsewhere only."""
        try:
            return self.request("/api/users/me/")[0] == UNAUTHORIZED
        except (OSError, http.client.HTTPException):
            return False

    def socket(self, token: str, position: str = "") -> "connect":
        """Return a WebSocket of a user, to be used in a with statement."""
        url = f"ws://127.0.0.1:{self.port}/ws/realtime/?token={token}{position}"
        return connect(url, proxy=None, open_timeout=30)

    def opens(self, token: str) -> bool:
        """Return whether a WebSocket of a user opens now."""
        try:
            with self.socket(token):
                return True
        except (OSError, InvalidHandshake):
            return False

    def upstream(self, service: str) -> str:
        """Return the address of the one container of a service."""
        (container,) = self.compose("ps", "--quiet", service).split()
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.command("docker", "inspect", "--format", template, container).strip()

    def change(self, name: str, old: str, new: str) -> None:
        """Edit a file of the project."""
        file = self.project / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name}: {old}"
        file.write_text(text.replace(old, new))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition of the containers comes true."""
        assert wait_for(condition, time.monotonic() + WAIT_SECONDS), self.compose("logs")

    def upstreams(self) -> set[str]:
        """Return the addresses of the Daphnes that have served sockets, from nginx's log."""
        log = self.compose("logs", "--no-log-prefix", "nginx")
        return set(re.findall(r'"GET /ws/realtime/" 101 .* upstream ([\d.]+):', log))

    def secrets(self) -> list[bytes]:
        """Return the secrets of the project's .env."""
        text = (self.project / ".env").read_text()
        found = re.findall(r"^(?:SECRET_KEY|\w+_PASSWORD)=(.+)$", text, re.MULTILINE)
        return [secret.encode() for secret in found]

    def saved_image(self) -> subprocess.Popen[bytes]:
        """Start to write the image, with all of its layers, as a tar file."""
        return subprocess.Popen(["docker", "save", self.image], stdout=subprocess.PIPE)


def next_event(ws: ClientConnection) -> dict[str, Any]:
    """Return the next frame of a socket."""
    return json.loads(ws.recv(timeout=30))
