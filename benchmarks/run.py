"""Measures the rendered server beside the Channels tutorial and Socket.IO.

    python benchmarks/run.py [--quick] [--only WORKLOAD...] [--sides SIDE...] [--steps] [--write]

It renders the template, installs the servers into `benchmarks/build/`, measures them in turn,
prints a table and writes `benchmarks/results.json`. README.md says what is measured and how. Needs
Linux with two cores, a C compiler, Node with npm, redis-server and taskset, and cookiecutter in the
Python that runs it.
"""

import argparse
import fcntl
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from processes import (
    BUILD,
    HERE,
    LOAD_CORE,
    SERVER_CORE,
    busy_seconds,
    cpu_seconds,
    postgres_server,
    redis_server,
    wait_until_quiet,
)
from report import Samples, describe, medians, table, write_readme
from sides import PROJECT, Running, all_sides, environment, make_users
from steps import STEPS, report_steps, step_servers
from workloads import WORKLOADS, Sample, Workload, baseline

TEMPLATE = HERE.parent
RESULTS = HERE / "results.json"
REPETITIONS = 3
# Above this share of the server's core taken by something else, a measurement is made again.
DISTURBED_SHARE = 0.05
TRIES = 3


def measure_all(
    servers: dict[tuple[str, str], Running], workloads: list[Workload], quick: bool
) -> Samples:
    """Every workload on every side, in turns, so that a slow minute of the machine hits all."""
    turns = [
        (workload, servers[side, workload.setup])
        for _ in range(1 if quick else REPETITIONS)
        for workload in workloads
        for side in workload.sides
        if (side, workload.setup) in servers
    ]
    samples: Samples = {}
    for number, (workload, server) in enumerate(turns, 1):
        name = f"{workload.name}: {server.side.label}"
        print(f"[{number}/{len(turns)}] {name} ... ", end="", flush=True)
        sample = measure(workload, server, quick)
        print(
            f"{sample[workload.figure]:,.2f} {workload.unit}, {sample['lost']:,} lost", flush=True
        )
        samples.setdefault(workload.name, {}).setdefault(server.side.name, []).append(sample)
    return samples


def measure(workload: Workload, server: Running, quick: bool) -> Sample:
    """Measure with a new server, and again if other work on its core has disturbed it."""
    tries: list[Sample] = []
    while not tries or (tries[-1]["disturbance"] > DISTURBED_SHARE and len(tries) < TRIES):
        if tries:
            print("disturbed, once more ... ", end="", flush=True)
        wait_until_quiet()
        with server.served():
            # What a server does right after its start shall not count.
            time.sleep(0.5)
            since, core, own = time.monotonic(), busy_seconds(SERVER_CORE), cpu_seconds(server.pid)
            sample = workload.measure(server, quick)
            foreign = busy_seconds(SERVER_CORE) - core - (cpu_seconds(server.pid) - own)
            foreign -= sample.get("second_server_seconds", 0.0)
            sample["disturbance"] = round(max(0.0, foreign / (time.monotonic() - since)), 3)
        tries.append(sample)
    return min(tries, key=lambda sample: sample["disturbance"])


def build(python: Path | None) -> Path:
    """Compile the generator, install Socket.IO, render the template; gives the Python to use."""
    for leftover in ("postgres", "project"):
        shutil.rmtree(BUILD / leftover, ignore_errors=True)
    for pattern in ("*.log", "*.sqlite3*"):
        for leftover in BUILD.glob(pattern):
            leftover.unlink()
    for program in ("generator", "baseline"):
        source = str(HERE / f"{program}.c")
        command("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(BUILD / program), source)
    socketio = HERE / "socketio"
    install_once(
        socketio / "package-lock.json",
        lambda: command("npm", "ci", "--no-audit", "--no-fund", cwd=socketio),
    )
    command(
        *(sys.executable, "-m", "cookiecutter", str(TEMPLATE), "--no-input"),
        *("--output-dir", str(PROJECT.parent), f"project_slug={PROJECT.name}"),
        *("database=postgresql", "use_chat=false", "verify_project=false"),
    )
    shutil.copytree(HERE / "rendered", PROJECT, dirs_exist_ok=True)
    return python or install_requirements()


def install_requirements() -> Path:
    """Make a virtual environment of the rendered project's own hash-locked requirements."""
    python = BUILD / "venv" / "bin" / "python"
    lock = PROJECT / "requirements-dev.txt"

    def install() -> None:
        command(sys.executable, "-m", "venv", "--clear", str(BUILD / "venv"))
        command(str(python), "-m", "pip", "install", "--require-hashes", "-q", "-r", str(lock))

    install_once(lock, install)
    return python


def install_once(lock: Path, install: Callable[[], None]) -> None:
    """Install what a lock file asks for, unless that has been done since it last changed."""
    stamp = BUILD / f"{lock.name}.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        install()
        stamp.write_text(digest)


def command(*parts: str, cwd: Path | None = None) -> None:
    """Run a command that must succeed."""
    subprocess.run(parts, cwd=cwd, check=True)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="once and shortly, to try it out")
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", help="measure only these")
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="measure only these")
    parser.add_argument("--steps", action="store_true", help="measure from one process to many")
    parser.add_argument("--python", type=Path, help="a Python that has the requirements already")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    if options.steps and options.write and (options.quick or options.only):
        parser.error("--steps --write is for all steps, and medians: without --quick and --only")
    if SERVER_CORE == LOAD_CORE:
        raise SystemExit("The benchmark needs two cores: one for the server, one for its load.")

    # So that the servers end with this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("Another benchmark runs: two would measure each other.") from None
        run(options)


def run(options: argparse.Namespace) -> None:
    """Build, measure and report."""
    python = build(options.python)
    choice = STEPS if options.steps else WORKLOADS
    workloads = [each for each in choice if not options.only or each.name in options.only]
    sides = {side.name: side for side in all_sides(python)}
    with redis_server() as redis_url, postgres_server(python, ["rendered", "tutorial"]) as urls:
        servers = {}
        for name, url in urls.items():
            sqlite_url = f"sqlite:///{BUILD / name}.sqlite3"
            for database, database_url in (("postgresql", url), ("sqlite", sqlite_url)):
                variables = environment(sides[name], database_url, redis_url)
                users = make_users(sides[name], variables)
                servers[name, database] = Running(sides[name], variables, users)
        # The tutorial's tokens are signed with the same key, and Socket.IO keeps no users.
        servers["socketio", "postgresql"] = Running(
            sides["socketio"],
            environment(sides["socketio"], "", redis_url),
            servers["tutorial", "postgresql"].users,
        )
        measured = {
            key: server
            for key, server in servers.items()
            if not options.sides or key[0] in options.sides
        }
        baselines = {
            workload.name: rate for workload in workloads if (rate := baseline(workload.name))
        }
        if options.steps:
            samples = measure_all(step_servers(servers), workloads, options.quick)
            about = describe(python)
            report_steps(samples, about, quick=options.quick, write=options.write)
            return
        samples = measure_all(measured, workloads, options.quick)

    figures, about = medians(samples, workloads), describe(python)
    RESULTS.write_text(
        json.dumps(
            {"about": about, "medians": figures, "baselines": baselines, "samples": samples},
            indent=1,
        )
    )
    text = table(figures, baselines, workloads, list(sides.values()))
    print(f"\n{text}\n\nEvery sample is in {RESULTS}.")
    if options.write:
        write_readme(text, about, quick=options.quick)


if __name__ == "__main__":
    main()
