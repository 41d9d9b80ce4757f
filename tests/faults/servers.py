"""Redis, PostgreSQL, Daphne and Gunicorn, as processes of a test's own."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from .guard import guard
from .process import Process, free_port
from .project import Project


class Redis(Process):
    """A redis-server that stores nothing; with a password, it also gives that to its master."""

    def __init__(self, name: str, folder: Path, password: str = "") -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.password = password
        self.command = [
            *(redis_server(), "--bind", "127.0.0.1", "--port", str(self.port)),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ]
        if password:
            self.command += ["--requirepass", password, "--masterauth", password]
        self.options = {}

    def answers(self) -> bool:
        """Say whether it answers PING."""
        try:
            return self.ask("PING") == "PONG"
        except OSError:
            return False

    def ask(self, command: str) -> str:
        """Send a command and give its answer, with the protocol's own marks taken off."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            login = f"AUTH {self.password}\r\n" if self.password else ""
            connection.sendall(f"{login}{command}\r\n".encode())
            with connection.makefile("rb") as answer:
                if login:
                    answer.readline()
                line = answer.readline().decode().rstrip()
                if line.startswith("$"):
                    return answer.read(int(line[1:])).decode()
                if line.startswith("-"):
                    raise RuntimeError(f"Redis refuses {command!r}: {line}")
                return line[1:]

    def connections(self) -> int:
        """Count the clients that are connected, without this question's own connection."""
        return len(self.ask("CLIENT LIST").splitlines()) - 1


class Sentinel(Redis):
    """Watches a master together with other Sentinels, and puts a replica in its place."""

    def __init__(self, name: str, folder: Path, master: Redis, password: str) -> None:
        super().__init__(name, folder, password)
        conf = folder / f"{name}.conf"
        conf.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {folder}\n"
            f"requirepass {password}\nsentinel sentinel-pass {password}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 2\n"
            f"sentinel auth-pass mymaster {master.password}\n"
            "sentinel down-after-milliseconds mymaster 1000\n"
            "sentinel failover-timeout mymaster 10000\n"
        )
        self.command = [redis_server(), str(conf), "--sentinel"]

    def sees(self) -> dict[str, str]:
        """Give what it knows of the master: its status and address, and who else is there."""
        line = re.search(r"^master0:(.*?)\r?$", self.ask("INFO sentinel"), re.MULTILINE)
        assert line, "it knows no master"
        return dict(part.split("=") for part in line[1].split(","))


def redis_server() -> str:
    """Give the path of the system's redis-server."""
    found = shutil.which("redis-server")
    if not found:
        raise FileNotFoundError(
            "these tests need redis-server on PATH: apt install redis-server, brew install redis"
        )
    return found


class PostgreSQL(Process):
    """A PostgreSQL with throwaway data, from the package that the project's tests use."""

    def __init__(self, name: str, folder: Path, project: Project) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self._programs = project.postgresql
        # Not below pytest's folder, into which no other user may look.
        self._data = Path(tempfile.mkdtemp(prefix="faults-postgresql-"))
        guard().watch(self._data)
        # It refuses to run as root.
        self.options = {"cwd": "/"}
        if os.getuid() == 0:
            shutil.chown(self._data, "nobody")
            self.options |= {"user": "nobody", "extra_groups": []}
        subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust"),
                *("--no-sync", "--encoding", "UTF8", "--locale", "C"),
            ],
            check=True,
            capture_output=True,
            **self.options,
        )
        self.command = [
            *(str(self._programs / "postgres"), "-D", str(self._data)),
            *("-h", "127.0.0.1", "-p", str(self.port), "-k", ""),
            # These tests kill the server, never the machine.
            *("-c", "fsync=off", "-c", "max_connections=200"),
        ]

    def answers(self) -> bool:
        """Say whether it takes connections."""
        ready = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready).returncode == 0

    def ask(self, query: str, database: str = "postgres") -> str:
        """Run SQL as the superuser and give what it prints."""
        return subprocess.run(
            [
                *(self._programs / "psql", "-h", "127.0.0.1", "-p", str(self.port)),
                *("-U", "postgres", "-d", database, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", query),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def url(self, database: str) -> str:
        """Give the DATABASE_URL of one of its databases."""
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def crash(self) -> None:
        """End it as a crash would: no shutdown, so that the next start has to recover."""
        self.end(signal.SIGQUIT)

    def delete(self) -> None:
        """Stop it and delete its data."""
        self.end(signal.SIGINT)
        shutil.rmtree(self._data)
        guard().forget(self._data)


class PgBouncer(Process):
    """A PgBouncer before a PostgreSQL: each transaction gets a connection, no client keeps one."""

    def __init__(self, name: str, folder: Path, server: PostgreSQL) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise FileNotFoundError(
                "these tests need pgbouncer: apt install pgbouncer, brew install pgbouncer"
            )
        conf = folder / f"{name}.ini"
        conf.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 20\n"
            "unix_socket_dir =\n"
        )
        # Debian's refuses to run as root, and then could not read what is in pytest's folder.
        descriptor = os.open(conf, os.O_RDONLY)
        self.command = [program, f"/dev/fd/{descriptor}"]
        self.options = {"cwd": "/", "pass_fds": [descriptor]}
        if os.getuid() == 0:
            self.options |= {"user": "nobody", "extra_groups": []}

    def answers(self) -> bool:
        """Say whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def url(self, database: str) -> str:
        """Give the DATABASE_URL of one of the server's databases."""
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"


class WebServer(Process):
    """A process that serves the project on a port."""

    port: int

    def answers(self) -> bool:
        """Say whether the liveness probe is answered."""
        try:
            return self.request("GET", "/livez")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def request(
        self, method: str, path: str, token: str = "", body: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        """Send a request and give the status and the body; underscores become hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


class Daphne(WebServer):
    """The project's own server."""

    def __init__(
        self, name: str, folder: Path, project: Project, environment: dict[str, str]
    ) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.command = [str(project.python), "-m", "realtime.server", "--port", str(self.port)]
        self.options = {"cwd": project.folder, "env": environment}
        self.url = f"ws://127.0.0.1:{self.port}"


class Gunicorn(WebServer):
    """The server of ordinary requests, with two workers forked from a loaded application."""

    def __init__(
        self, name: str, folder: Path, project: Project, environment: dict[str, str]
    ) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.command = [
            *(str(project.python), "-m", "gunicorn", "backend.wsgi:application"),
            *("--bind", f"127.0.0.1:{self.port}", "--workers", "2", "--preload"),
            *("--graceful-timeout", "5"),
        ]
        self.options = {"cwd": project.folder, "env": environment}

    def workers(self) -> int:
        """Count the workers that have been forked, by their lines in the log."""
        return len(re.findall(r"Booting worker", self.log.read_text()))
