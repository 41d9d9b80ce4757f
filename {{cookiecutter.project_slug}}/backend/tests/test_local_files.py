"""The files that belong to one machine."""

import os
import stat
from pathlib import Path

import pytest

from backend import local_files

EXAMPLE = """\
# SECRET_KEY= is filled in
DEBUG=on
SECRET_KEY=
REDIS_PASSWORD=
POSTGRES_PASSWORD=mine
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as it is after cloning."""
    Path(tmp_path, ".env.example").write_text(EXAMPLE, "utf-8")
    Path(tmp_path, "api.http.example").write_text("GET /livez\n# é\n", "utf-8")
    return tmp_path


def test_writes_what_is_missing(project: Path):
    """Both files come from their examples."""
    assert local_files.write_missing(project) == [".env", "api.http"]

    example, requests = Path(project, "api.http.example"), Path(project, "api.http")
    assert requests.read_text("utf-8") == example.read_text("utf-8")


def test_secrets_are_random(project: Path):
    """Secrets that the example leaves empty get long random values; the rest stays."""
    local_files.write_missing(project)

    comment, debug, key, redis, postgres = Path(project, ".env").read_text("utf-8").splitlines()
    assert [comment, debug, postgres] == [
        "# SECRET_KEY= is filled in",
        "DEBUG=on",
        "POSTGRES_PASSWORD=mine",
    ]
    assert key.startswith("SECRET_KEY=")
    assert len(key) > 60
    assert redis.removeprefix("REDIS_PASSWORD=") not in key
    assert key not in local_files.with_secrets(EXAMPLE)


def test_only_the_owner_reads_them(project: Path):
    """Both files are for their owner's eyes: one holds secrets, the other will hold tokens."""
    local_files.write_missing(project)

    for name in (".env", "api.http"):
        mode = Path(project, name).stat().st_mode
        # Windows knows only whether a file can be written.
        assert os.name == "nt" or not mode & (stat.S_IRWXG | stat.S_IRWXO)


def test_keeps_what_is_there(project: Path):
    """A file that exists is not touched."""
    Path(project, ".env").write_text("DEBUG=off\n", "utf-8")

    assert local_files.write_missing(project) == ["api.http"]
    assert local_files.write_missing(project) == []
    assert Path(project, ".env").read_text("utf-8") == "DEBUG=off\n"
