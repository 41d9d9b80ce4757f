"""What `make deploy` makes of the stack, in a swarm of this one machine.

An engine that leaves a swarm forgets the names of all running containers, so there may be none.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from ..faults.process import free_port, wait_for
from ..template import render, run
from .deployment import Deployment, next_event

DEPLOY_SECONDS = 180
GOING_AWAY = 4412


class Stack(Deployment):
    """A project as a stack of the swarm."""

    def __init__(self, project: Path) -> None:
        super().__init__(project)
        # A swarm publishes ports on every address.
        self.port = free_port()
        self.environment |= {"HTTP_PORT": str(self.port), "WSGI_PORT": str(free_port())}

    def manage(self, *words: str) -> str:
        """Run manage.py in a container of Gunicorn."""
        found = self.command(
            *("docker", "ps", "--quiet", "--filter", f"name={self.project.name}_wsgi\\.")
        )
        container = found.split()[0]
        return self.command("docker", "exec", container, "python", "manage.py", *words)

    def deploy(self, version: int) -> None:
        """Deploy a version, and wait until every task of it runs and the API answers."""
        self.environment["IMAGE"] = f"{self.project.name}:{version}"
        self.make("deploy")
        assert wait_for(self.settled, time.monotonic() + DEPLOY_SECONDS), self.tasks()
        self.until(self.answers)

    def settled(self) -> bool:
        """Return whether the swarm has done what it was told."""
        services = self.command(
            *("docker", "stack", "services", "--format", "{{json .}}", self.project.name)
        )
        for service in map(json.loads, services.splitlines()):
            running, _, wanted = service["Replicas"].split()[0].partition("/")
            if "job" in service["Mode"]:
                if "(1/1 completed)" not in service["Replicas"]:
                    return False
            elif running != wanted or not self.updated(service["Name"]):
                return False
        return True

    def updated(self, service: str) -> bool:
        """Return whether a service's update is over, if there was one."""
        state = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{else}}completed{{end}}"
        return (
            self.command("docker", "service", "inspect", "--format", state, service).strip()
            == "completed"
        )

    def tasks(self) -> str:
        """Show what has become of every task."""
        return self.command("docker", "stack", "ps", "--no-trunc", self.project.name)

    def remove(self) -> None:
        """Take everything away that the stack has made."""
        name = self.project.name
        # A network may still be in use by a task that has not quite ended.
        removal = ["docker", "stack", "rm", "--detach=false", name]
        self.until(lambda: run(removal).returncode == 0)
        self.until(lambda: not self.command("docker", "ps", "-aq", "--filter", f"name={name}_"))
        for kind in ("volume", "image"):
            column = "{{.Name}}" if kind == "volume" else "{{.Repository}}:{{.Tag}}"
            listed = self.command("docker", kind, "ls", "--format", column).split()
            for each in listed:
                if each.startswith((f"{name}_", f"{name}:")):
                    self.command("docker", kind, "rm", each)


@pytest.fixture(scope="module")
def swarm() -> Iterator[None]:
    """A swarm of this machine, made for these tests where there is none."""
    made = run(["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"]).stdout == "inactive\n"
    if made:
        running = run(["docker", "ps", "--format", "{{.Names}}"]).stdout.split()
        assert not running, f"{running} would lose their names: stop them, or `docker swarm init`"
        run(["docker", "swarm", "init", "--advertise-addr", "127.0.0.1"]).check_returncode()
    node = run(["docker", "info", "--format", "{{.Swarm.NodeID}}"]).stdout.strip()
    run(["docker", "node", "update", "--label-add", "data=yes", node]).check_returncode()
    yield
    if made:
        run(["docker", "swarm", "leave", "--force"]).check_returncode()


@contextlib.contextmanager
def stack(folder: Path, **answers: str | bool) -> Iterator[Stack]:
    """Render a project as a stack; nothing of it is left afterwards."""
    done = render(folder, verify_project=False, **answers)
    assert done.returncode == 0, done.stdout
    stack = Stack(done.project)
    try:
        yield stack
    finally:
        stack.remove()


@pytest.mark.usefixtures("swarm")
def test_a_new_version_loses_nothing(tmp_path: Path) -> None:
    """Sockets have their own Daphne; a new version closes them, and they get what they missed."""
    answers = {"database": "postgresql", "use_chat": True, "use_nginx": True}
    with stack(tmp_path, project_slug="swarm-with-nginx", **answers) as deployed:
        deployed.environment |= {"COMPOSE_PROFILES": "sockets", "BACKEND_REPLICAS": "2"}
        line = "server backend:8000 resolve;  # or "
        deployed.change("nginx.conf", line, line.replace("backend", "sockets"))
        deployed.deploy(1)
        deployed.register("alice")
        token = deployed.log_in("alice")
        deployed.until(lambda: deployed.opens(token))
        with deployed.socket(token) as ws:
            start = next_event(ws)
            deployed.manage("notify", "alice", '{"message": "first"}')
            assert next_event(ws)["message"] == "first"
            deployed.deploy(2)
            deployed.manage("notify", "alice", '{"message": "second"}')
            with pytest.raises(Exception, match=str(GOING_AWAY)):
                take_all(ws)
        position = f"&since={start['seq']}&epoch={start['epoch']}"
        deployed.until(lambda: deployed.opens(token))
        with deployed.socket(token, position) as ws:
            assert next_event(ws)["type"] == "realtime.ready"
            assert [next_event(ws)["message"] for _ in range(2)] == ["first", "second"]
        container = f"$(docker ps --quiet --filter name={deployed.project.name}_postgres)"
        dump = "pg_dump --username app --format custom app"
        saved = deployed.command("sh", "-c", f"docker exec {container} {dump} | wc -c")
        assert int(saved) > 10_000


def take_all(ws: ClientConnection) -> None:
    """Take events until the socket closes: an old server may have had the time to pass one on."""
    while True:
        next_event(ws)


@pytest.mark.usefixtures("swarm")
def test_without_nginx(tmp_path: Path) -> None:
    """Daphne and Gunicorn are on ports of their own, and an event goes from one to the other."""
    answers = {"database": "sqlite", "use_chat": False, "use_nginx": False}
    with stack(tmp_path, project_slug="swarm-alone", **answers) as deployed:
        deployed.deploy(1)
        deployed.register("alice")
        with deployed.socket(deployed.log_in("alice")) as ws:
            assert next_event(ws)["type"] == "realtime.ready"
            deployed.manage("notify", "alice", '{"message": "hi"}')
            assert next_event(ws)["message"] == "hi"
