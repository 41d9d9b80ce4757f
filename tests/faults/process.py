"""Processes that a test starts, kills and never leaves behind."""

import abc
import contextlib
import itertools
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import logs
from .guard import guard

START_SECONDS = 60
STOP_SECONDS = 10
POLL_SECONDS = 0.02
# Below those of Linux (ip_local_port_range) and other systems.
PORTS = range(10_000, 32_768)
# Every test process begins elsewhere.
_numbers = itertools.count(random.randrange(len(PORTS)))


def free_port() -> int:
    """Give a TCP port that nothing listens on now, each time another one.

    It is none that the system gives out by itself: until somebody listens on it, another test or an
    outgoing connection could get that as well.
    """
    while True:
        port = PORTS[next(_numbers) % len(PORTS)]
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port


class Process(abc.ABC):
    """One process with its log; `command`, `options` and `answers` are a subclass's to say."""

    command: list[str]
    options: dict[str, Any]

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.running: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def answers(self) -> bool:
        """Say whether the process does its work already."""

    def start(self) -> None:
        """Start it, once more where it died of a port that was taken, and wait for its answer."""
        deadline = time.monotonic() + START_SECONDS
        while not self._start_once(deadline):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not start:\n{self.tail()}")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """End it with SIGTERM."""
        self.end(signal.SIGTERM)

    def end(self, with_signal: signal.Signals) -> None:
        """Send a signal, wait, and kill what is still there after that."""
        if self.running is None:
            return
        process, self.running = self.running, None
        process.send_signal(with_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        guard().forget(process.pid)

    def tail(self, lines: int = 30) -> str:
        """Give the end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _start_once(self, deadline: float) -> bool:
        with self.log.open("ab") as log:
            logs.keep(self.log)
            self.running = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self.options,
            )
        guard().watch(self.running.pid)
        wait_for(lambda: self.running.poll() is not None or self.answers(), deadline)
        if self.running.poll() is None and self.answers():
            return True
        self.kill()
        return False


def wait_for(condition: Callable[[], bool], deadline: float) -> bool:
    """Look at a condition of another process again and again, until a time of the monotonic clock.

    Returns:
        Whether it came true.
    """
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(POLL_SECONDS)
    return False
