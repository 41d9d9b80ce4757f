"""From one process to many machines: what each step of the project's README gives.

All of it is the rendered server, and an event is one that another process stores. As elsewhere, the
server has one core and everything else the other; a second Daphne of step 3 is with the load, the
one that answers the API in step 4 with the sockets' server, on the same core.
"""

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from processes import HERE, LOAD_CORE, cpu_seconds, generator, process
from report import Samples, medians, shown, write_readme
from sides import USERS, Running
from workloads import WARM_UP_CONNECTIONS, Measure, Sample, Workload, connections, targeted

RESULTS = HERE / "steps.json"
PROJECT_README = HERE.parent / "{{cookiecutter.project_slug}}" / "README.md"
MARKS = ("<!-- steps -->", "<!-- end of steps -->")
RATE, EVENTS = 100, 2_000
API_CONNECTIONS, API_RATE = 8, 100

stored = targeted(RATE, {"default": EVENTS}, "store")


def beside_requests(*, apart: bool) -> Measure:
    """Stored events while the same Daphne, or another one, answers requests to the API."""

    def measure(server: Running, quick: bool) -> Sample:
        with contextlib.ExitStack() as stack:
            asked = stack.enter_context(replace(server).served()) if apart else server
            load = stack.enter_context(requests(asked))
            sample = stored(server, quick)
            assert load.stdin is not None
            assert load.stdout is not None
            load.stdin.close()
            answered = json.loads(load.stdout.readline())
            sample["requests_per_second"] = answered["answered"] / answered["seconds"]
            if apart:
                sample["second_server_seconds"] = cpu_seconds(asked.pid)
        return sample

    return measure


@contextlib.contextmanager
def requests(server: Running) -> Iterator[subprocess.Popen[bytes]]:
    """Ask the API of a server until the standard input is closed."""
    python, _ = server.side.drive
    command = [python, str(HERE / "http_load.py"), str(server.port), str(API_CONNECTIONS)]
    command += [str(API_RATE)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with process([*command, server.users[0][1]], LOAD_CORE, **pipes) as load:
        yield load


def two_servers(server: Running, quick: bool) -> Sample:
    """Authenticated connections to two Daphnes at once, half of the users to each."""
    count = (300 if quick else USERS - WARM_UP_CONNECTIONS) // 2
    with replace(server).served(LOAD_CORE) as second:
        halves = ((server, 0), (second, USERS // 2))
        for number in (WARM_UP_CONNECTIONS // 2, count):
            with contextlib.ExitStack() as stack:
                opening = [
                    stack.enter_context(
                        generator(
                            half.port,
                            half.side.kind,
                            "hold",
                            half.targets(half.side.user, number, first),
                        )
                    )
                    for half, first in halves
                ]
                opened = [next(each) for each in opening]
    return {
        "per_second": sum(each["ready"] for each in opened)
        / max(each["seconds"] for each in opened),
        "lost": sum(each["refused"] for each in opened),
    }


def latency(name: str, title: str, measure: Measure, setup: str = "postgresql") -> Workload:
    """A workload whose figure is the 99th percentile of the latency."""
    return Workload(name, title, "ms", measure, figure="p99_ms", setup=setup, sides=("rendered",))


def rate(name: str, title: str, measure: Measure) -> Workload:
    """A workload whose figure is how many connections are made in a second."""
    return Workload(name, title, "connections/s", measure, sides=("rendered",))


STEPS = [
    latency("without-redis", "An event of another process, without Redis: p99", stored, "no redis"),
    latency("with-redis", "… with Redis", stored),
    latency(
        "together",
        "… while the same Daphne answers 100 requests a second",
        beside_requests(apart=False),
    ),
    latency("apart", "… while another one on its core answers them", beside_requests(apart=True)),
    rate("one-daphne", "Authenticated connections to one Daphne", connections),
    rate("two-daphnes", "… to two, one on each core", two_servers),
]

# What the project's README says, by the beginning of the row.
CELLS = {
    "1. One process": "99 % of events from another process within {without-redis} ms",
    "2. One machine": "99 % of events within {with-redis} ms",
    "3. Several Daphnes": "{one-daphne} authenticated connections a second to one, {two-daphnes} "
    "to two",
    "4. Daphnes for sockets alone": f"99 % of events within {{together}} ms beside {API_RATE} "
    "requests a second, {with-redis} ms without them; {apart} ms where the second Daphne has no "
    "core of its own",
}


def step_servers(servers: dict[tuple[str, str], Running]) -> dict[tuple[str, str], Running]:
    """The rendered server with and without Redis."""
    server = servers["rendered", "postgresql"]
    # Requests come over plain HTTP.
    server = replace(server, environment=server.environment | {"HTTPS": "off"})
    alone = replace(server, environment=server.environment | {"REDIS_URL": ""})
    return {("rendered", "postgresql"): server, ("rendered", "no redis"): alone}


def report_steps(samples: Samples, about: dict[str, str], *, quick: bool, write: bool) -> None:
    """Print the medians, keep all samples, and put the figures into both READMEs if asked to."""
    figures = medians(samples, STEPS)
    numbers = {name: shown(by_side["rendered"]["median"]) for name, by_side in figures.items()}
    lost = sum(by_side["rendered"]["lost"] for by_side in figures.values())
    rows = [
        f"| {step.title} | {numbers[step.name]} {step.unit} |"
        for step in STEPS
        if step.name in numbers
    ]
    text = "\n".join(["| | |", "| --- | ---: |", *rows])
    print(f"\n{text}\n\n{lost} lost. Every sample is in {RESULTS}.")
    RESULTS.write_text(
        json.dumps({"about": about, "medians": figures, "samples": samples}, indent=1)
    )
    if write:
        write_readme(text, about, quick=quick, marks=MARKS)
        page = PROJECT_README.read_text("utf-8")
        for label, cell in CELLS.items():
            row = re.compile(rf"^(\| {re.escape(label)} .*\| )[^|]*( \|)$", re.MULTILINE)
            filled = rf"\g<1>{cell.format(**numbers)}\g<2>"
            page, found = row.subn(filled, page)
            assert found == 1, label
        PROJECT_README.write_text(page, "utf-8")
