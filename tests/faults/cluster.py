"""All that one test needs: a database, and the processes and clients that use it."""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .clients import Client, Clients, Person, Received
from .desk import Desk
from .ledger import History
from .process import Process
from .project import Project
from .servers import Daphne, Gunicorn, PostgreSQL, Redis


class Cluster:
    """Processes that share a database and a Redis; all of them end with the test."""

    def __init__(self, project: Project, folder: Path, database_url: str) -> None:
        self.project = project
        self.folder = folder
        self.database_url = database_url
        self.redis = Redis("redis", folder)
        #: Where the project's processes find Redis; elsewhere where a test says so.
        self.redis_url = f"redis://localhost:{self.redis.port}/0"
        #: Variables of this cluster's processes beside those that all have.
        self.variables: dict[str, str] = {}
        self._processes: list[Process] = []
        self._desks = contextlib.AsyncExitStack()
        self._desk: Desk | None = None

    async def start(self, daphnes: int = 1) -> list[Daphne]:
        """Start Redis and so many Daphne processes."""
        await self.run(self.redis)
        return list(await asyncio.gather(*(self.daphne() for _ in range(daphnes))))

    async def daphne(self) -> Daphne:
        """Start one more Daphne."""
        name = f"daphne-{len(self._processes)}"
        return await self.run(Daphne(name, self.folder, self.project, self.environment))

    async def gunicorn(self) -> Gunicorn:
        """Start a Gunicorn."""
        return await self.run(Gunicorn("gunicorn", self.folder, self.project, self.environment))

    async def run(self, process: Any) -> Any:
        """Start a process that ends with the test."""
        self._processes.append(process)
        await asyncio.to_thread(process.start)
        return process

    async def desk(self) -> Desk:
        """Start one more process that does jobs; `do` and `begin` use the first one."""
        name = f"desk-{id(object())}"
        return await self._desks.enter_async_context(
            Desk(name, self.folder, self.project, self.environment)
        )

    async def begin(self, action: str, **arguments: Any) -> Any:
        """Order a job of the cluster's desk and give it while it is being done."""
        if self._desk is None:
            self._desk = await self.desk()
        return await self._desk.begin(action, **arguments)

    async def do(self, action: str, **arguments: Any) -> Any:
        """Order a job of the cluster's desk and give its result."""
        return await (await self.begin(action, **arguments)).result

    async def people(self, count: int) -> list[Person]:
        """Make users."""
        return [Person(*made) for made in await self.do("people", count=count)]

    async def history(self, people: Iterable[Person]) -> History:
        """Read all events of these people from the database."""
        rows = await self.do("history", users=[person.id for person in people])
        return {user: [Received(*event) for event in events] for user, events in rows}

    async def heads(self, people: Iterable[Person]) -> dict[int, int]:
        """Read the last sequence number of each of these people from the database."""
        return dict(await self.do("heads", users=[person.id for person in people]))

    @property
    def environment(self) -> dict[str, str]:
        """The variables of this cluster's processes."""
        return self.project.environment(self.database_url, self.redis_url) | self.variables

    async def close(self) -> None:
        """End every process."""
        await self._desks.aclose()
        for process in reversed(self._processes):
            await asyncio.to_thread(process.end, signal.SIGKILL)

    def logs(self) -> Iterator[str]:
        """Give the end of every log."""
        for log in sorted(self.folder.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-40:]
            if lines:
                yield "\n".join([f"--- {log.name}", *lines])


class Databases:
    """Makes migrated databases for tests, from one that is migrated once."""

    def __init__(self, project: Project, folder: Path, server: PostgreSQL) -> None:
        self._project = project
        self._folder = folder
        self.server = server
        self._made = 0
        self._migrated: set[str] = set()

    def make(self, kind: str) -> str:
        """Make a database, `sqlite` or `postgresql`, and give its DATABASE_URL."""
        self._made += 1
        make: Callable[[str], str] = {"sqlite": self._sqlite, "postgresql": self._postgresql}[kind]
        return make(f"test{self._made}")

    def copy(self, source: str, target: str) -> None:
        """Make a PostgreSQL database a copy of another; whoever is connected to it is cut off."""
        self.server.ask(f"DROP DATABASE IF EXISTS {target} WITH (FORCE)")
        self.server.ask(f"CREATE DATABASE {target} TEMPLATE {source}")

    def connections(self, cluster: Cluster) -> int:
        """Count the connections to a cluster's PostgreSQL database."""
        name = cluster.database_url.rpartition("/")[2]
        query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"  # nosec B608: ours
        return int(self.server.ask(query))

    def _postgresql(self, name: str) -> str:
        if "postgresql" not in self._migrated:
            self.server.ask("CREATE DATABASE migrated")
            self._migrate(self.server.url("migrated"))
            self._migrated.add("postgresql")
        self.server.ask(f"CREATE DATABASE {name} TEMPLATE migrated")
        return self.server.url(name)

    def _sqlite(self, name: str) -> str:
        migrated = self._folder / "migrated.sqlite3"
        if "sqlite" not in self._migrated:
            self._migrate(f"sqlite:///{migrated}")
            self._migrated.add("sqlite")
        copy = self._folder / f"{name}.sqlite3"
        with (
            contextlib.closing(sqlite3.connect(migrated)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return f"sqlite:///{copy}"

    def _migrate(self, url: str) -> None:
        environment = self._project.environment(url)
        self._project.manage("migrate", "--verbosity", "0", environment=environment)


def devices(people: Iterable[Person], daphnes: Iterable[Daphne], **options: Any) -> Clients:
    """Give one client for each person, which goes to whichever of the servers is there."""
    servers = [daphne.url for daphne in daphnes]
    return Clients([Client(person, servers, **options) for person in people])
