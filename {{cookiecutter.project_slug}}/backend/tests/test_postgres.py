"""The PostgreSQL that is brought along for development."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from backend import postgres

REPORT = "import os, psycopg2; psycopg2.connect(os.environ['DATABASE_URL']); print('connected')"


@pytest.fixture
def nobody() -> str:
    """A URL at which no PostgreSQL answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"postgres://app@127.0.0.1:{free.getsockname()[1]}/app"


def test_the_suite_runs_on_postgresql(db):
    """With PostgreSQL chosen, nothing is ever tested on SQLite."""
    assert settings.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert postgres.answers(os.environ["DATABASE_URL"])


def test_answers(nobody: str):
    """An empty URL, a closed port and a wrong database do not answer."""
    assert not postgres.answers("")
    assert not postgres.answers(nobody)


def test_configured_url(monkeypatch, tmp_path: Path):
    """The environment wins over the file, which changes nothing in the environment."""
    file = Path(tmp_path, ".env")
    file.write_text("DATABASE_URL=postgres://from-the-file/app\nREDIS_URL=redis://x\n", "utf-8")
    monkeypatch.setenv("ENV_FILE", str(file))
    monkeypatch.delenv("REDIS_URL", raising=False)

    monkeypatch.delenv("DATABASE_URL")
    assert postgres.configured_url() == "postgres://from-the-file/app"
    assert not {"DATABASE_URL", "REDIS_URL"} & set(os.environ)

    monkeypatch.setenv("DATABASE_URL", "postgres://from-the-environment/app")
    assert postgres.configured_url() == "postgres://from-the-environment/app"


def test_a_command_is_needed():
    """Called without a command it says how to call it."""
    with pytest.raises(SystemExit, match=r"python -m backend\.postgres COMMAND"):
        postgres.main([])


def test_uses_what_answers(capfd):
    """Where DATABASE_URL answers, the command just runs, and its status is the result."""
    assert postgres.main([sys.executable, "-c", REPORT]) == 0
    assert postgres.main([sys.executable, "-c", "raise SystemExit(7)"]) == 7

    output = capfd.readouterr()
    assert output.out == "connected\n"
    assert output.err == ""


def test_starts_the_bundled_server(nobody: str, tmp_path: Path):
    """Where nothing answers it starts a server, says so, and stops it when the command ends.

    The folder's name has a space in it, as people's folders do.
    """
    data = Path(tmp_path, "my data")
    starter = """
import sys
from pathlib import Path
from backend import postgres

postgres.DATA = Path(sys.argv[1])
sys.exit(postgres.main(sys.argv[2:]))
"""

    done = subprocess.run(
        [sys.executable, "-c", starter, data, sys.executable, "-c", REPORT],
        env=os.environ | {"DATABASE_URL": nobody, "ENV_FILE": os.devnull},
        cwd=postgres.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "connected\n", done.stderr
    assert f"using the bundled one, its data in {data}" in done.stderr
    assert done.returncode == 0
    assert Path(data, "PG_VERSION").exists()
    assert not Path(data, "postmaster.pid").exists()
