"""Processes on a core of their own, and what they take of the machine."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"

# The server has a core to itself; all that makes and carries its load has the other one.
SERVER_CORE, LOAD_CORE = (sorted(os.sched_getaffinity(0)) * 2)[:2]

START_SECONDS = 20
STOP_SECONDS = 15

# A machine is quiet if its two cores are busy for less than this share of one look.
QUIET_SHARE = 0.15
QUIET_LOOK_SECONDS = 0.5
QUIET_TRIES = 60

Process = subprocess.Popen[bytes]


@contextlib.contextmanager
def process(
    command: list[str], core: int, *, log: Path | None = None, **options: Any
) -> Iterator[Process]:
    """Run a command on one core; end it, and wait for its end, at the end of the block."""
    with contextlib.ExitStack() as stack:
        if log is not None:
            options["stdout"] = options["stderr"] = stack.enter_context(log.open("ab"))
        running = subprocess.Popen(["taskset", "-c", str(core), *command], **options)
        try:
            yield running
        finally:
            if running.stdin:
                running.stdin.close()
            else:
                running.terminate()
            try:
                running.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@contextlib.contextmanager
def generator(
    port: int, kind: str, mode: str, targets: Path, *options: str
) -> Iterator[Iterator[dict[str, Any]]]:
    """Run generator.c; gives what it prints: its connections, then its result."""
    command = [str(BUILD / "generator"), "-p", str(port), "-k", kind, "-m", mode]
    with process(
        [*command, "-u", str(targets), *options],
        LOAD_CORE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        yield _lines(running)


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis that keeps nothing on disk; gives its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1"]
    with process(
        [*command, "--save", "", "--appendonly", "no", "--dir", str(BUILD)],
        LOAD_CORE,
        log=BUILD / "redis.log",
    ) as running:
        wait_for_port(port, running)
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def postgres_server(python: Path, databases: list[str]) -> Iterator[dict[str, str]]:
    """Run the bundled PostgreSQL with new databases; gives the URL of each."""
    with (
        (BUILD / "postgres.log").open("ab") as log,
        process(
            [str(python), str(HERE / "postgres.py"), str(BUILD / "postgres"), *databases],
            LOAD_CORE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as running,
    ):
        yield next(_lines(running))


def free_port() -> int:
    """A TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, running: Process) -> None:
    """Wait until a process listens, without connecting to it."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise SystemExit(f"{running.args} ended with {running.returncode}; see {BUILD}/*.log")
        # As /proc prints it: the port, no peer, and the state LISTEN.
        if f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text():
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after {START_SECONDS} s; see {BUILD}/*.log")


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds(core: int) -> float:
    """Time that a core was busy with anything, a hypervisor's other guests too."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    values = next(line[1:] for line in lines if line[0] == f"cpu{core}")
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, values[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_until_quiet() -> None:
    """Wait, for a while, until nothing else keeps the two cores busy."""
    for _ in range(QUIET_TRIES):
        before = busy_seconds(SERVER_CORE) + busy_seconds(LOAD_CORE)
        time.sleep(QUIET_LOOK_SECONDS)
        busy = busy_seconds(SERVER_CORE) + busy_seconds(LOAD_CORE) - before
        if busy < QUIET_SHARE * QUIET_LOOK_SECONDS:
            return


def settled_private_bytes(pid: int) -> int:
    """The memory that only this process uses, once it has stopped changing."""
    sizes = [_private_bytes(pid)]
    while len(sizes) < 5 or max(sizes[-4:]) - min(sizes[-4:]) > 64 * 1024:
        time.sleep(0.5)
        sizes.append(_private_bytes(pid))
        if len(sizes) > 30:
            break
    return sizes[-1]


def _private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _lines(running: Process) -> Iterator[dict[str, Any]]:
    assert running.stdout is not None
    for line in running.stdout:
        yield json.loads(line)
    raise SystemExit(f"{running.args} ended with {running.wait()}; see {BUILD}/*.log")
