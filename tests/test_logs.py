"""A run fails whose logs hold a token."""

import sys
from pathlib import Path

import pytest

from . import logs
from .template import ROOT, environment, run

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyIjoiMSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU"
TICKET = "dGlja2V0LXRpY2tldC10aWNrZXQtdGlja2V0LXRpY2s"
CONFTEST = """
from tests.logs import pytest_configure, pytest_sessionfinish, pytest_terminal_summary
"""
TEST = """
from tests import logs

def test_nothing(tmp_path):
    logs.issued().write_text("{ticket}\\n")
    log = tmp_path / "server.log"
    log.write_text("one\\n{line}\\nthree\\n")
    logs.keep(log)
    log.unlink()
"""


@pytest.mark.parametrize(
    ("line", "leaks"),
    [
        ("GET /ws/realtime/?token=***", False),
        ("d0f3c1f8-7b0e-4c44-9a8f-0d9a4a9fdc11 is an epoch", False),
        (f"GET /ws/realtime/?ticket={TICKET}", True),
        (f"GET /ws/realtime/?ticket%3D{TICKET[:25]}", True),
        (f"bearer, {TOKEN}", True),
        (f"…{TOKEN[-45:]}", True),
        (f"{TOKEN[:30]}…", True),
    ],
)
def test_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, leaks: bool
) -> None:
    """A ticket, the signature of a token, or what any token begins with, whole or cut."""
    monkeypatch.setenv(logs.FOLDER_VARIABLE, str(tmp_path))
    logs.issued().write_text(f"{TOKEN}\n{TICKET}\n")
    (tmp_path / "server.log").write_text(f"one\n{line}\nthree\n")

    assert logs.search() == (2, 1, ["server.log, line 2"] if leaks else [])


@pytest.mark.parametrize(
    ("processes", "line", "leaks"),
    [("0", f"ticket={TICKET}", True), ("2", f"ticket={TICKET}", True), ("0", "ticket=***", False)],
)
def test_a_token_in_a_log_fails_the_run(
    tmp_path: Path, processes: str, line: str, leaks: bool
) -> None:
    """Though every test passes; it is named by log and line, and not shown."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_one.py").write_text(TEST.format(ticket=TICKET, line=line))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", processes, tmp_path]
    variables = {"PYTHONPATH": str(ROOT), logs.FOLDER_VARIABLE: None}

    done = run(command, cwd=tmp_path, env=environment(tmp_path, **variables))

    assert "1 passed" in done.stdout
    assert done.returncode == leaks, done.stdout
    assert ("server.log" in done.stdout and "line 2" in done.stdout) == leaks
    assert TICKET[:20] not in done.stdout
