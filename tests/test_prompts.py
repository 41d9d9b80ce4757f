"""The questions, answered in a real terminal."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from .conftest import write_test
from .template import QUESTIONS, TOOLS, environment

TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
PROMPTS = QUESTIONS["__prompts__"]


def start(template: Path, folder: Path, *arguments: str) -> pexpect.spawn:
    """Start `cookiecutter` in a terminal."""
    folder.mkdir()
    command = [str(template), "--output-dir", str(folder), *arguments]
    env = environment(folder, **TERMINAL, TMPDIR=str(folder.parent))
    return pexpect.spawn(
        str(TOOLS / "cookiecutter"),
        command,
        env=env,
        timeout=300,
        encoding="utf-8",
        # What a shell runs in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def plain(text: str) -> str:
    """The text without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text)


def test_every_question_is_asked_in_plain_words(small: Path, tmp_path: Path) -> None:
    """Each is asked once, in order; typed answers and defaults lead to a verified project."""
    terminal = start(small, tmp_path / "out")
    typed = {
        "project_name": 'Night "Owl"',
        "database": "1",
        "use_nginx": "n",
        "python_version": "3",
    }
    for name in list(QUESTIONS)[: list(QUESTIONS).index("__prompts__")]:
        prompt = PROMPTS[name]
        terminal.expect_exact(prompt if isinstance(prompt, str) else prompt["__prompt__"])
        if isinstance(prompt, dict):
            for answer in QUESTIONS[name]:
                terminal.expect_exact(prompt[answer])
        terminal.expect(r"\)\S*: ")
        terminal.sendline(typed.get(name, ""))
    terminal.expect("7  ready: cd ")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    project = tmp_path / "out" / "night-owl"
    assert 'title = "Night \\"Owl\\""' in (project / "pyproject.toml").read_text()
    assert not (project / "nginx.conf").exists()


def test_what_takes_longer_shows_its_progress(small: Path, tmp_path: Path) -> None:
    """In a terminal, the running step shows its newest line and a clock."""
    write_test(small, "import time\n\n\ndef test_nothing():\n    time.sleep(2)\n")
    terminal = start(small, tmp_path / "out", "--no-input")
    terminal.expect(r"installing.*\d:\d\d:\d\d")
    terminal.expect(r"testing: .*1 item.*\d:\d\d:\d\d")
    terminal.expect("tests: 1 passed")
    terminal.expect(pexpect.EOF)


@pytest.mark.parametrize(("moment", "installed"), [("installing", False), ("1 item", True)])
def test_ctrl_c_keeps_the_project(
    moment: str, installed: bool, small: Path, tmp_path: Path
) -> None:
    """It says that the project is unverified and what verifies it, and leaves nothing running."""
    write_test(
        small,
        "import os\nimport pathlib\nimport time\n\n\ndef test_sleep():\n"
        f"    pathlib.Path('{tmp_path}/pid').write_text(str(os.getpid()))\n    time.sleep(600)\n",
    )
    terminal = start(small, tmp_path / "out", "--no-input")
    terminal.expect(moment)
    if installed:
        while not (tmp_path / "pid").exists():
            terminal.expect(r"\d:\d\d:\d\d")
    terminal.sendintr()
    terminal.expect("Interrupted: the project is there, but unverified; `cd ")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1  # Cookiecutter's own, which ends as well.
    project = tmp_path / "out" / "my-realtime-backend"
    assert (project / "manage.py").exists()
    assert (project / ".env").exists()
    wait_for(lambda: not list(tmp_path.glob("verify-*")))
    wait_for(lambda: (project / ".venv").exists() == installed)
    if installed:
        wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so; Cookiecutter does not wait for its interrupted hook."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
