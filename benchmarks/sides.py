"""The three servers: how to start each, and what its clients and senders say."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import (
    BUILD,
    HERE,
    LOAD_CORE,
    SERVER_CORE,
    free_port,
    process,
    wait_for_port,
)

PROJECT = BUILD / "project" / "benchmarked"
SECRET_KEY = secrets.token_urlsafe(50)
USERS = 1_000
SEND_SECONDS = 120


@dataclass
class Side:
    """One of the servers."""

    name: str
    label: str
    folder: Path
    # "{port}" stands for the port to listen on.
    serve: list[str]
    # Takes the arguments of drive.py.
    drive: list[str]
    # How generator.c knows that a connection is ready.
    kind: str
    # Request targets of a socket in the room and of a user's own socket.
    room: str
    user: str
    # What a client sends to the room; "%s" stands for the text.
    frame: str
    environment: dict[str, str] = field(default_factory=dict)


def all_sides(python: Path) -> list[Side]:
    """The three servers, in the order in which they take turns."""
    drive = [str(python), str(HERE / "drive.py")]
    return [
        Side(
            name="rendered",
            label="Rendered server",
            folder=PROJECT,
            serve=[str(python), "-m", "realtime.server", "--port", "{port}"],
            drive=drive,
            kind="realtime",
            room="/ws/bench/1/?token={token}",
            user="/ws/realtime/?token={token}",
            frame='{"type": "bench.signal", "message": "%s"}',
            environment={
                "DJANGO_SETTINGS_MODULE": "bench.settings",
                # Not the one for development that is written with a new project.
                "ENV_FILE": os.devnull,
                "ALLOWED_HOSTS": "127.0.0.1",
                "ACCESS_TOKEN_MINUTES": "600",  # nosec B105: minutes
                # A closed loop sends as fast as it is answered, which this limit is there to stop.
                "REALTIME_FRAMES_PER_SECOND": "1000000",
                "REALTIME_FRAMES_BURST": "1000000",
            },
        ),
        Side(
            name="tutorial",
            label="Channels tutorial",
            folder=HERE / "channels_tutorial",
            serve=[str(python), "-m", "daphne", "-p", "{port}", "asgi:application"],
            drive=drive,
            kind="plain",
            room="/ws/chat/bench/?token={token}",
            user="/ws/realtime/?token={token}",
            frame='{"message": "%s"}',
            environment={"DJANGO_SETTINGS_MODULE": "settings"},
        ),
        Side(
            name="socketio",
            label="Socket.IO",
            folder=HERE / "socketio",
            serve=["node", "server.js", "{port}"],
            drive=["node", "send.js"],
            kind="socketio",
            room="/socket.io/?EIO=4&transport=websocket&room=bench&token={token}",
            user="/socket.io/?EIO=4&transport=websocket&token={token}",
            frame='42["message","%s"]',
        ),
    ]


@dataclass
class Running:
    """A server that runs, on one of the databases."""

    side: Side
    environment: dict[str, str]
    # Id and access token of each user.
    users: list[tuple[int, str]]
    port: int = 0
    pid: int = 0

    @contextmanager
    def served(self, core: int = SERVER_CORE) -> Iterator["Running"]:
        """Run the server for as long as the block lasts."""
        self.port = free_port()
        command = [part.format(port=self.port) for part in self.side.serve]
        options = {"cwd": self.side.folder, "env": self.environment}
        with process(command, core, log=BUILD / f"{self.side.name}.log", **options) as running:
            wait_for_port(self.port, running)
            self.pid = running.pid
            yield self

    def targets(self, pattern: str, count: int, first: int = 0) -> Path:
        """A file with a request target for each of some users."""
        path = BUILD / f"targets-{first}.txt"
        users = self.users[first : first + count]
        path.write_text("".join(pattern.format(token=token) + "\n" for _, token in users))
        return path

    def send(self, *arguments: str) -> dict[str, int]:
        """Run the sender to its end; gives when it began and ended, as the generator's clock."""
        return json.loads(drive(self.side, self.environment, *arguments))


def environment(side: Side, database_url: str, redis_url: str) -> dict[str, str]:
    """Only what a server needs: nothing of the caller's may turn it to another database."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(BUILD),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NODE_ENV": "production",
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        **side.environment,
    }


def make_users(side: Side, environment: dict[str, str]) -> list[tuple[int, str]]:
    """Make a side's tables and users; gives the id and access token of each."""
    pairs = (line.split() for line in drive(side, environment, "users", str(USERS)).splitlines())
    return [(int(user_id), token) for user_id, token in pairs]


def drive(side: Side, environment: dict[str, str], *arguments: str) -> str:
    """Run drive.py, or its counterpart, beside the server; gives what it prints."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "check": True}
    return subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *side.drive, *arguments],
        cwd=side.folder,
        env=environment,
        timeout=SEND_SECONDS,
        **options,
    ).stdout
