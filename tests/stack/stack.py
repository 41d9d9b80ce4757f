"""The stack as docker-compose.yml makes it, without containers."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..faults.clients import Person
from ..faults.process import Process, free_port, wait_for
from ..faults.project import INSIDE as FAULTS_INSIDE
from ..faults.project import Project
from ..faults.servers import Gunicorn, Redis
from .names import NameServer
from .servers import Backend, Nginx

INSIDE = Path(__file__).with_name("inside")
WAIT_SECONDS = 20


class Stack:
    """All processes, and the names under which nginx finds them."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project
        self.folder = folder
        self.processes: list[Process] = []
        self.redis = Redis("redis", folder)
        environment = project.environment(
            f"sqlite:///{folder}/db.sqlite3", f"redis://127.0.0.1:{self.redis.port}/0"
        )
        self.environment = environment | {
            "DJANGO_SETTINGS_MODULE": "reception.settings",
            "PYTHONPATH": f"{INSIDE}:{FAULTS_INSIDE}",
            "TRUST_PROXY": "on",
            "REALTIME_PING_SECONDS": "1",
            "REGISTER_RATE": "10000/min",
            "TOKEN_RATE": "10000/min",
        }
        self.port = free_port()
        self.backends = [
            Backend(project, folder, self.environment, address, self.port)
            for address in ("127.0.0.1", "127.0.0.2")
        ]
        self.wsgi = Gunicorn("gunicorn", folder, project, self.environment)
        self.names = NameServer(
            {"backend": ["127.0.0.1"], "sockets": ["127.0.0.2"], "wsgi": ["127.0.0.1"]}
        )
        self.nginx = self.make_nginx()

    def make_nginx(self, name: str = "nginx", changes: Mapping[str, str] | None = None) -> Nginx:
        """Make an nginx in front of this stack, with some parts of nginx.conf replaced."""
        text = (self.project.folder / "nginx.conf").read_text("utf-8")
        for old, new in (changes or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        ports = {"backend:8000": self.port, "sockets:8000": self.port, "wsgi:8001": self.wsgi.port}
        return Nginx(name, self.folder, text, ports, self.names)

    def start(self) -> None:
        """Start everything, one Daphne, and wait until nginx has found it."""
        for command in (["migrate", "--verbosity", "0"], ["collectstatic", "--no-input"]):
            self.project.manage(*command, environment=self.environment)
        static = self.nginx.srv / "static"
        static.rmdir()
        static.symlink_to(self.project.folder / "staticfiles")
        for process in (self.redis, self.backends[0], self.wsgi, self.nginx):
            self.run(process)
        self.until(lambda: self.status("/api/users/me/") == 401 and self.status("/livez") == 200)

    def run(self, process: Any) -> None:
        """Start a process that ends with the stack."""
        if process not in self.processes:
            self.processes.append(process)
        process.start()

    def __enter__(self) -> "Stack":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        for process in reversed(self.processes):
            process.stop()
        self.names.close()

    def status(self, path: str) -> int:
        """Return the status of an answer, 0 if there is none."""
        with contextlib.suppress(OSError):
            return self.nginx.request(path).status
        return 0

    def resolve(self, *addresses: str) -> None:
        """Let the name of the Daphnes mean these addresses, and wait until nginx uses each."""
        self.names.names["backend"] = list(addresses)
        self.until(lambda: {self._answerer() for _ in range(12)} == set(addresses))

    def _answerer(self) -> str | None:
        return self.nginx.request("/api/users/me/").signed.get("address")

    def person(self, name: str) -> Person:
        """Register somebody and sign in, through nginx."""
        account = {"username": name, "email": f"{name}@example.com", "password": "pass-word-9"}
        made = self.nginx.request("/api/users/", "POST", account, source="127.0.0.8")
        assert made.status == 201, made.body
        tokens = self.nginx.request("/api/token/", "POST", account, source="127.0.0.8")
        assert tokens.status == 200, tokens.body
        access = json.loads(tokens.body)["access"]
        me = self.nginx.request("/api/users/me/", Authorization=f"Bearer {access}")
        return Person(json.loads(me.body)["id"], access)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition of the processes comes true."""
        assert wait_for(condition, time.monotonic() + WAIT_SECONDS), "it does not come true"
