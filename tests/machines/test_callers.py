"""The rendered project's tests on a machine where its caller works with databases and a Redis.

They touch what they have started, or what TEST_DATABASE_URL and TEST_REDIS_URL name, and nothing
else, whatever the caller exports.
"""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from ..faults.project import Project
from ..faults.servers import PostgreSQL, Redis
from ..template import environment, python_with, render, run

# What people have exported for this project or another one, and what they mistyped.
HABITS = {
    "ALLOWED_HOSTS": "https://example.com/",
    "DEBUG": "*",
    "DJANGO_SETTINGS_MODULE": "backend.settings",
    "HTTPS": "true",
    "LOG_LEVEL": "verbose",
    "PYTEST_ADDOPTS": "--color=no",
    "REALTIME_TICK_SECONDS": "abc",
    "REGISTRATION_OPEN": "false",
    "SECRET_KEY": "short",
    "TRUST_PROXY": "true",
    "WEBSOCKET_ALLOWED_ORIGINS": "https://example.com",
}
# May hear and speak on channels of the tests' own, and see no key.
GUEST = "on >secret resetkeys resetchannels &test-* -@all +@connection +@pubsub +eval"


@pytest.fixture(scope="module")
def sqlite_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project on SQLite."""
    return render(tmp_path_factory.mktemp("out"), verify_project=False).project


@pytest.fixture(scope="module")
def postgresql_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project on PostgreSQL."""
    return Project(tmp_path_factory.mktemp("out"), use_chat=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite database with a row in it."""
    path = tmp_path / "precious.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious AS SELECT 'mine' AS whose")
    connection.close()
    return path


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis with keys of somebody's."""
    redis = Redis("redis", tmp_path)
    redis.start()
    for number in range(3):
        redis.ask(f"SET precious:{number} mine")
    yield redis
    assert redis.ask("DBSIZE") == "3"
    assert [redis.ask(f"GET precious:{number}") for number in range(3)] == ["mine"] * 3
    redis.stop()


@pytest.fixture
def postgresql(tmp_path: Path, postgresql_project: Project) -> Iterator[PostgreSQL]:
    """A PostgreSQL with a database of somebody's."""
    server = PostgreSQL("postgresql", tmp_path, postgresql_project)
    # What a race has refused may be a token, which no log of a test may hold.
    server.command += ["-c", "log_min_error_statement=panic"]
    server.start()
    server.ask("CREATE DATABASE precious")
    server.ask("CREATE TABLE precious AS SELECT 'mine' AS whose", "precious")
    before = databases(server)
    yield server
    assert databases(server) == before
    assert server.ask("SELECT relname FROM pg_stat_user_tables", "precious") == "precious"
    assert server.ask("SELECT whose FROM precious", "precious") == "mine"
    server.delete()


def databases(server: PostgreSQL) -> str:
    """Return the names of a server's databases."""
    return server.ask("SELECT datname FROM pg_database ORDER BY 1")


def transactions(server: PostgreSQL) -> int:
    """Count the transactions of a server that have written something."""
    return int(server.ask("SELECT pg_current_xact_id()"))


def suite(project: Path, *options: str, **variables: str) -> CompletedProcess[str]:
    """Run the tests of a project as somebody who has exported these variables."""
    python = python_with(project / "requirements-dev.txt")
    env = environment(project.parent, **variables)
    return run([python, "-m", "pytest", "-q", *options], cwd=project, env=env)


def assert_passed(done: CompletedProcess[str]) -> None:
    """Let the test show what the inner run says, if that has failed."""
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d{3,} passed", done.stdout, re.MULTILINE), done.stdout


def commands(redis: Redis) -> int:
    """Count the commands that a Redis has been given."""
    return int(re.search(r"total_commands_processed:(\d+)", redis.ask("INFO stats"))[1])


def test_what_the_caller_has_exported_reaches_no_test(
    sqlite_project: Path, tmp_path: Path, file: Path, redis: Redis
) -> None:
    """Neither the settings, nor the database, nor the Redis of the one who runs the tests."""
    env_file = tmp_path / "precious.env"
    env_file.write_text("REGISTRATION_OPEN=off\nnonsense\n")
    before, asked = file.read_bytes(), commands(redis)

    done = suite(
        sqlite_project,
        **HABITS,
        DATABASE_URL=f"sqlite:///{file}",
        ENV_FILE=str(env_file),
        REDIS_URL=f"redis://127.0.0.1:{redis.port}/0",
    )

    assert_passed(done)
    assert file.read_bytes() == before
    assert commands(redis) == asked + 1, "that is the question itself"


def test_a_postgresql_that_is_not_for_tests(
    postgresql_project: Project, postgresql: PostgreSQL, redis: Redis
) -> None:
    """The bundled one is used, also by the processes of pytest-xdist."""
    asked = commands(redis)

    done = suite(
        postgresql_project.folder,
        "--numprocesses=2",
        **HABITS,
        DATABASE_URL=postgresql.url("precious"),
        REDIS_URL=f"redis://127.0.0.1:{redis.port}/0",
    )

    assert_passed(done)
    assert commands(redis) == asked + 1


def test_a_redis_for_tests_may_hold_what_is_not_theirs(sqlite_project: Path, redis: Redis) -> None:
    """A user who may only use channels of the tests' own, and no key, is enough."""
    redis.ask(f"ACL SETUSER guest {GUEST}")

    done = suite(
        sqlite_project,
        "--numprocesses=2",
        TEST_REDIS_URL=f"redis://guest:secret@127.0.0.1:{redis.port}/0",
    )

    assert_passed(done)
    assert int(re.search(r"cmdstat_eval:calls=(\d+)", redis.ask("INFO commandstats"))[1]) > 100
    assert redis.ask("ACL LOG") == "0", "nothing was refused"


def test_a_postgresql_for_tests_keeps_its_databases(
    postgresql_project: Project, postgresql: PostgreSQL
) -> None:
    """The tests make a database beside the one that TEST_DATABASE_URL names, and drop it."""
    before = transactions(postgresql)

    done = suite(postgresql_project.folder, TEST_DATABASE_URL=postgresql.url("precious"))

    assert_passed(done)
    assert transactions(postgresql) > before + 1_000, "that is where they ran"


@pytest.mark.parametrize("settings", ["backend.settings", "elsewhere"])
def test_other_settings_are_refused(sqlite_project: Path, file: Path, settings: str) -> None:
    """Options that are exported are no way to the caller's database either."""
    (sqlite_project / "elsewhere.py").write_text("from backend.settings import *\n")
    before = file.read_bytes()

    done = suite(
        sqlite_project, PYTEST_ADDOPTS=f"--ds={settings}", DATABASE_URL=f"sqlite:///{file}"
    )

    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert f"backend.settings_test, not with {settings}" in done.stdout
    assert file.read_bytes() == before


def test_a_database_for_tests_that_does_not_answer(postgresql_project: Project) -> None:
    """No other one takes its place: the answer is a sentence that names the variable."""
    url = "postgres://app:secret@127.0.0.1:1/app"

    done = suite(postgresql_project.folder, TEST_DATABASE_URL=url)

    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "TEST_DATABASE_URL" in done.stdout
    assert "secret" not in done.stdout
    assert "Traceback" not in done.stdout
