"""What cannot start says why in one line, ends with a status, and leaves nothing running."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .faults.process import free_port
from .faults.project import Project
from .faults.servers import PostgreSQL

pytestmark = pytest.mark.xdist_group("start")

# How long anything may take to start, or to find out that it cannot.
PATIENCE_SECONDS = 60
PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The rendered project."""
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def sqlite(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of production on a database that is migrated."""
    file = tmp_path_factory.mktemp("sqlite") / "db.sqlite3"
    env = project.environment(f"sqlite:///{file}") | {"DJANGO_SETTINGS_MODULE": "backend.settings"}
    # WhiteNoise would warn that no static files have been collected.
    env |= {"PYTHONWARNINGS": "ignore"}
    project.manage("migrate", "--verbosity", "0", environment=env)
    return env


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def postgresql(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A PostgreSQL with the database `app`, into which `app` gets with the password alone."""
    server = PostgreSQL("postgresql", tmp_path_factory.mktemp("postgresql"), project)
    try:
        server.start()
        server.ask(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        server.ask("CREATE DATABASE app OWNER app")
        rules = Path(server.ask("SHOW hba_file"))
        rules.write_text("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 md5\n")
        server.ask("SELECT pg_reload_conf()")
        yield server
    finally:
        server.delete()


def start(project: Project, *arguments: str, env: dict[str, str]) -> tuple[int, str]:
    """Run Python in the project; give the status and the output of what ended by itself."""
    process = subprocess.Popen(
        [project.python, *arguments],
        cwd=project.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        # Its children would be in the same group: the reloader's, or Gunicorn's workers.
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, output


def complaint(output: str) -> str:
    """Return the one line of an output that is not from the log, but for people."""
    assert "Traceback" not in output
    logged = re.compile(r"\[?\d{4}-\d\d-\d\d |System check identified no issues")
    (line,) = [line for line in output.splitlines() if line and not logged.match(line)]
    return line


COMMANDS = {
    "manage.py": ("manage.py", "check"),
    "runserver": ("manage.py", "runserver", "0"),
    "realtime.server": ("-m", "realtime.server", "--port", "0"),
    "Gunicorn": ("-m", "gunicorn", "backend.wsgi", "--bind", "127.0.0.1:0", "--no-control-socket"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DEBUG", "*", "DEBUG is '*' in the environment, but takes on or off."),
        ("SECRET_KEY", PASSWORD, "SECRET_KEY is missing, a placeholder or shorter than 50"),
        ("DATABASE_URL", f"postgres://app:{PASSWORD}?@db/app", "in a password write ? as %3F"),
        ("REDIS_URL", f"redis://:{PASSWORD}", "REDIS_URL holds redis://***, which cannot be used"),
        ("DJANGO_SETTINGS_MODULE", "shop.settings", "DJANGO_SETTINGS_MODULE is 'shop.settings'"),
    ],
)
def test_a_setting_that_cannot_be_used(
    project: Project, sqlite: dict[str, str], command: str, name: str, value: str, sentence: str
) -> None:
    """Whatever starts the project names the setting, says what it takes and shows no secret."""
    status, output = start(project, *COMMANDS[command], env=sqlite | {name: value})

    assert status == 3, output
    assert PASSWORD not in output
    line = complaint(output)
    assert line.startswith("Error: ")
    assert sentence in line


def test_a_line_of_the_file_that_cannot_be_read(
    project: Project, sqlite: dict[str, str], tmp_path: Path
) -> None:
    """It is told by its number: what it says may be secret."""
    file = tmp_path / "some.env"
    file.write_text(f"DEBUG=on\nAPI_PASSWORD {PASSWORD}\n")

    status, output = start(project, "manage.py", "check", env=sqlite | {"ENV_FILE": str(file)})

    assert status == 3
    assert complaint(output).startswith(f"Error: Line 2 of {file} cannot be read: write NAME=value")
    assert PASSWORD not in output


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (("manage.py", "runserver", "127.0.0.1:{}"), "port={}"),
        (("manage.py", "runserver", "--noreload", "127.0.0.1:{}"), "port={}"),
        (("-m", "realtime.server", "--port", "{}"), "--port {}"),
    ],
)
def test_a_port_that_is_taken(
    project: Project, sqlite: dict[str, str], taken: int, arguments: tuple[str, ...], way_out: str
) -> None:
    """A server that cannot listen ends, with its reloader, and names another port."""
    status, output = start(project, *(part.format(taken) for part in arguments), env=sqlite)

    assert status == 1, output
    other = way_out.format(taken + 1)
    assert complaint(output).removeprefix("CommandError: ") == (
        f"Port {taken} of 127.0.0.1 is taken: stop what listens there, or choose another "
        f"with {other}"
    )


def test_a_port_for_metrics_that_is_taken(
    project: Project, sqlite: dict[str, str], taken: int
) -> None:
    """The server does not start without its metrics."""
    env = sqlite | {"METRICS_PORT": str(taken)}

    status, output = start(project, "-m", "realtime.server", "--port", "0", env=env)

    assert status == 1
    assert complaint(output).startswith(f"Port {taken} of 127.0.0.1 is taken")
    assert f"METRICS_PORT={taken + 1}" in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-m", "realtime.server", "--bind", "192.0.2.1"), "192.0.2.1 is no address of this"),
        (("-m", "realtime.server", "--bind", "x.invalid"), "x.invalid is no address of this"),
        (("-m", "realtime.server", "--port", "65536"), "Nothing can listen on port 65536 of 127."),
        (("manage.py", "runserver", "192.0.2.1:8000"), "192.0.2.1 is no address of this"),
        (("manage.py", "runserver", "65536"), "Nothing can listen on port 65536 of 127.0.0.1"),
    ],
)
def test_an_address_that_cannot_be_listened_on(
    project: Project, sqlite: dict[str, str], arguments: tuple[str, ...], sentence: str
) -> None:
    """An address of another machine, a name without one and a port that is none are told."""
    status, output = start(project, *arguments, env=sqlite)

    assert status == 1, output
    assert complaint(output).startswith(sentence)


def test_a_port_for_privileged_users(project: Project, sqlite: dict[str, str]) -> None:
    """The words for it; whether there are such ports is for the machine to say."""
    code = (
        "import errno; from realtime.server import cannot_listen; "
        "print(cannot_listen(PermissionError(errno.EACCES, ''), '127.0.0.1', 80, 'port='))"
    )

    _, output = start(project, "-c", f"import django; django.setup(); {code}", env=sqlite)

    assert output.strip() == (
        "Port 80 of 127.0.0.1 is not for everyone: choose one above 1023 with port=8000"
    )


def test_runserver_tells_where_it_listens(project: Project, sqlite: dict[str, str]) -> None:
    """The address is that of the socket: port 0 has the system choose, and somebody answers."""
    with subprocess.Popen(
        [project.python, "manage.py", "runserver", "127.0.0.1:0"],
        cwd=project.folder,
        env=sqlite,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = next(
                match[0] for line in process.stdout if (match := re.search(r"http://\S+/", line))
            )
            url = f"{address}livez"
            with urllib.request.urlopen(url, timeout=10) as answer:  # nosec B310: its own address
                assert answer.status == 200
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("login", "name", "sentence"),
    [
        (f"app:{PASSWORD}x", "app", 'password authentication failed for user "app"'),
        (f"app:{PASSWORD}", "shop", 'database "shop" does not exist'),
    ],
)
def test_a_database_that_refuses(
    project: Project,
    sqlite: dict[str, str],
    postgresql: PostgreSQL,
    login: str,
    name: str,
    sentence: str,
) -> None:
    """Where a PostgreSQL answers that does not take DATABASE_URL, no other stands in for it."""
    env = sqlite | {"DATABASE_URL": f"postgres://{login}@127.0.0.1:{postgresql.port}/{name}"}

    status, output = start(project, "-m", "backend.postgres", "echo", "started", env=env)

    assert status == 3
    line = complaint(output)
    assert line.startswith("Error: DATABASE_URL cannot be used: connection to server at")
    assert sentence in line
    assert PASSWORD not in output


def test_a_database_that_answers(
    project: Project, sqlite: dict[str, str], postgresql: PostgreSQL
) -> None:
    """With the right password the command runs, and nothing is said."""
    env = sqlite | {"DATABASE_URL": f"postgres://app:{PASSWORD}@127.0.0.1:{postgresql.port}/app"}

    assert start(project, "-m", "backend.postgres", "echo", "started", env=env) == (0, "started\n")
