"""The READMEs' first minutes, typed as they stand there but for the address and the port."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from .faults.process import free_port
from .template import OPTIONS, ROOT, environment, render

# What installing and verifying a project may take on a busy machine.
PATIENCE_SECONDS = 300
PASSWORD = "analytical-engine"
# The project's own settings, which the caller may have too.
UNSET = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "ENV_FILE"))


def blocks(text: str, title: str) -> list[str]:
    """Return what a chapter shows to be typed, one text for each terminal."""
    chapter = re.split(rf"(?m)^#+ {re.escape(title)}$", text)[1]
    chapter = re.split(r"(?m)^#+ ", chapter)[0]
    # A block between fences is code of another kind.
    chapter = re.sub(r"(?s)```.*?```", "", chapter)
    return [
        "".join(line[4:] for line in block.splitlines(keepends=True))
        for block in re.findall(r"(?m)(?:^    .*\n)+", chapter)
    ]


class Reader:
    """Somebody who types what a README says, in one folder.

    Args:
        folder: where the first terminal is opened.
        home: an empty folder for what programs leave in a home.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.env = environment(home, **UNSET, TERM="xterm-256color", COLUMNS="200")

    def command(self, text: str) -> list[str]:
        """Return a shell that is told this, at the port of this test."""
        return ["bash", "-ec", text.replace("8000", str(self.port))]

    def type(self, text: str) -> str:
        """Run commands to their end, and give their output."""
        done = self.run(text)
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run commands to their end, whatever it is."""
        return subprocess.run(
            self.command(text),
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def terminal(self, text: str) -> pexpect.spawn:
        """Run a command that somebody watches and answers."""
        shell, *arguments = self.command(text)
        return pexpect.spawn(
            shell,
            arguments,
            cwd=self.folder,
            env=self.env,
            timeout=60,
            encoding="utf-8",
            # What a shell runs in the background ignores Ctrl-C, and so would all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @contextmanager
    def serving(self, text: str) -> Iterator[None]:
        """Run a command that serves, until it has been used."""
        log = self.folder.parent / "server.log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                self.command(text),
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as server,
        ):
            try:
                deadline = time.monotonic() + PATIENCE_SECONDS
                while not self.answers():
                    assert server.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
                yield
            finally:
                os.killpg(server.pid, signal.SIGTERM)
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(server.pid, signal.SIGKILL)
                    raise

    def answers(self) -> bool:
        """Return whether the server does its work already."""
        try:
            url = f"http://127.0.0.1:{self.port}/readyz"
            with urllib.request.urlopen(url, timeout=10):  # nosec B310: its own address
                return True
        except OSError:
            return False


def frame(socket: pexpect.spawn, shown: str) -> dict:
    """Wait for a frame that looks as a README shows it, and give it."""
    pattern = re.escape(shown).replace("…", r'[^"]+')
    socket.expect(pattern)
    return json.loads(socket.match[0])


def test_the_five_minute_tour(tmp_path: Path) -> None:
    """Rendered, served, signed in, notified; what was missed meanwhile arrives."""
    readme = (ROOT / "README.md").read_text("utf-8")
    rendering, second, third, again = blocks(readme, "Five-minute tour")
    ready, event = re.findall(r'`(\{"type":.*?\})`', readme.partition("## Five-minute tour")[2])
    start, serve = rendering.replace("gh:ORG/cookiecutter-django-realtime", str(ROOT)).rsplit(
        "cd my-realtime-backend\n"
    )
    reader = Reader(tmp_path, tmp_path)
    assert re.search(r"tests: \d+ passed", reader.type(start))
    reader.folder = tmp_path / "my-realtime-backend"
    assert serve == "make run\n"

    with reader.serving("make run port=8000"):
        *signing_in, socket_command = second.splitlines()
        assert '"username":"ada"' in reader.type(signing_in[0])
        assert {"access", "refresh"} <= json.loads(
            reader.type(signing_in[1]).splitlines()[-1]
        ).keys()
        socket = reader.terminal(socket_command)
        position = frame(socket, ready)
        assert position["seq"] == 0
        reader.type(third)
        frame(socket, event)
        socket.sendintr()
        socket.expect(pexpect.EOF)

        reader.type(third)
        socket = reader.terminal(again.replace("…", position["epoch"]))
        frame(socket, event.replace('"seq":1', '"seq":2'))
        socket.close(force=True)

        # A second one finds the port taken; what another project exports is not its settings.
        done = reader.run("DJANGO_SETTINGS_MODULE=shop.settings make run port=8000")
        assert done.returncode == 2
        assert f"Port {reader.port} of 127.0.0.1 is taken" in done.stdout
        assert "Traceback" not in done.stdout

        for path in re.findall(r"http://127.0.0.1:8000(/\w[\w/]*)", readme):
            url = f"http://127.0.0.1:{reader.port}{path}"
            if path not in ("/api/users/", "/api/token/"):
                with urllib.request.urlopen(url) as answer:  # nosec B310: its own address
                    assert answer.status == 200


def test_the_projects_first_minute(tmp_path: Path) -> None:
    """Installed, served, a superuser made, a socket opened and notified; and the daily commands.

    With PostgreSQL: with SQLite, the tour has the same targets.
    """
    project = render(tmp_path / "out", verify_project=False, database="postgresql").project
    readme = (project / "README.md").read_text("utf-8")
    first, second, third = blocks(readme, "The first minute")
    event = re.search(r'`(\{"type":.*?\})`', readme)[1]
    reader = Reader(project, tmp_path)
    install, serve = first.splitlines()
    assert serve.startswith("make run ")
    reader.type(install)

    with reader.serving("make run port=8000"):
        superuser, socket_command = second.splitlines()
        terminal = reader.terminal(superuser)
        for prompt, answer in (
            ("Username", "alice"),
            ("Email", "alice@example.com"),
            ("Password", PASSWORD),
            ("Password", PASSWORD),
        ):
            terminal.expect(f"{prompt}.*: ")
            terminal.sendline(answer)
        terminal.expect("Superuser created")
        terminal.expect(pexpect.EOF)
        socket = reader.terminal(socket_command)
        socket.expect("realtime.ready")
        reader.type(third)
        frame(socket, event)
        socket.close(force=True)
        # In the containers it is the same program.
        daily = re.findall(r"(?m)^    docker compose exec -T wsgi (python manage.py .*)", readme)
        assert len(daily) == 2
        for command in daily:
            reader.type(f".venv/bin/{command}")


@pytest.mark.parametrize("database", OPTIONS["database"])
def test_the_first_minute_without_make(database: str, tmp_path: Path) -> None:
    """The lines for Windows, with this system's `python3` and its way to write paths."""
    project = render(tmp_path / "out", verify_project=False, database=database).project
    for name in (".env", "api.http"):
        (project / name).unlink()
    readme = (project / "README.md").read_text("utf-8")
    (lines,) = blocks(readme, "Without make (Windows)")
    lines = re.sub(r"(?m)^py ", "python3 ", lines.replace(".venv\\Scripts\\", ".venv/bin/"))
    *commands, serve = lines.replace("\\", "/").splitlines()
    reader = Reader(project, tmp_path)
    for command in commands:
        reader.type(command)
    with reader.serving(serve):
        for command in (
            "createsuperuser --no-input --username alice --email a@example.com",
            "token alice",
            'notify alice \'{"message": "hi"}\'',
        ):
            variables = f"DJANGO_SUPERUSER_PASSWORD={PASSWORD} "
            reader.type(f"{variables}.venv/bin/python manage.py {command}")
