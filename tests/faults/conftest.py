"""Runs each fault on a rendered project with servers of its own, and sums up what came of it."""

import asyncio
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import Cluster, Databases
from .ledger import Ledger
from .project import Project
from .servers import PostgreSQL

FAULTS = {
    1: "Redis killed for 10 s, 200 events/s to 50 users on 2 processes",
    2: "Redis connections black-holed, both ends open",
    3: "FLUSHALL and CLIENT KILL TYPE pubsub during traffic",
    4: "publisher killed between commit and publish",
    5: "rollback; 8 writers to one user, PostgreSQL and SQLite",
    6: "500 random reconnects while writes go on",
    7: "Daphne killed, PostgreSQL crashed and restarted",
    8: "1,000 events at once to 50 users; a socket idle for 70 s",
    9: "3 s database call in another user's consumer",
    10: "transactions in opposite orders; a stream's row held",
    11: "trim, restore, new epoch and deletion during replay",
    12: "every kind of caller; 10,000 calls",
    13: "Redis master and a Sentinel killed; a replica takes over",
    14: "one of two Redis servers that share the hints killed for 10 s",
    15: "all of it at random, with kicks, logouts and wrong positions",
}
TEST_SECONDS = 240
TABLE = Path(__file__).resolve().parents[2] / ".cache" / "faults.md"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take for how long the random faults go on, and from which seed."""
    parser.addoption("--seconds", type=float, default=0, help="how long, for `make test-random`")
    parser.addoption("--seed", type=int, help="of the first round (default: any)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that says which fault a test is about."""
    config.addinivalue_line("markers", "fault(number): the fault of the summary that this shows")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function, with the cluster in the same event loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def story() -> None:
        try:
            async with asyncio.timeout(TEST_SECONDS):
                await pyfuncitem.obj(**arguments)
        finally:
            await pyfuncitem.funcargs["cluster"].close()

    asyncio.run(story())
    return True


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The rendered project."""
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def databases(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """A PostgreSQL, and migrated databases in it and in SQLite files."""
    folder = tmp_path_factory.mktemp("databases")
    server = PostgreSQL("postgresql", folder, project)
    try:
        server.start()
        yield Databases(project, folder, server)
    finally:
        server.delete()


@pytest.fixture
def database() -> str:
    """The kind of the database that the cluster uses; a test may say otherwise."""
    return "postgresql"


@pytest.fixture
def cluster(
    project: Project, databases: Databases, database: str, tmp_path: Path
) -> Iterator[Cluster]:
    """What the test starts its processes with; nothing runs in it yet."""
    cluster = Cluster(project, tmp_path, databases.make(database))
    yield cluster
    # Shown with a test that fails.
    print("\n".join(cluster.logs()))


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """The counts of the fault; at the end nothing may be lost or duplicated."""
    ledger = Ledger()
    yield ledger
    counts = dataclasses.asdict(ledger)
    counts.pop("_disorder")
    request.node.user_properties.append(("ledger", counts))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    """Say in the report which fault it is about."""
    marker = item.get_closest_marker("fault")
    if call.when == "setup" and marker is not None:
        item.user_properties.append(("fault", marker.args[0]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a line for each fault that was tried; write the table for the README if all passed."""
    rows = [row(number, reports) for number, reports in sorted(by_fault(terminalreporter).items())]
    if not rows:
        return
    heading = (
        "fault",
        "sent",
        "of these to subscriptions",
        "over HTTP",
        "received",
        "lost",
        "duplicated",
        "recovered after",
    )
    table = [
        f"| {' | '.join(heading)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    table += [f"| {' | '.join(cells)} |" for cells in rows]
    if len(rows) == len(FAULTS) and not any("FAILED" in cells[0] for cells in rows):
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text("\n".join(table) + "\n")
    terminalreporter.section("faults")
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for first, *others in [heading, *rows]:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        terminalreporter.line(f"{first.ljust(widths[0])}  {'  '.join(numbers)}")


def by_fault(terminalreporter: Any) -> dict[int, list[pytest.TestReport]]:
    """Sort the reports by fault: the last one of each test, and each that failed."""
    reports: dict[int, list[pytest.TestReport]] = {}
    # pytest files reports of a setup or teardown that passed under "".
    for kind in ("", "failed", "error"):
        for report in terminalreporter.getreports(kind):
            properties = dict(report.user_properties)
            if "fault" in properties and (report.when == "teardown" or report.failed):
                reports.setdefault(properties["fault"], []).append(report)
    return reports


def row(number: int, reports: list[pytest.TestReport]) -> tuple[str, ...]:
    """Add up the counts of a fault's tests."""
    ledgers = [dict(report.user_properties).get("ledger", {}) for report in reports]
    sums = [
        sum(ledger.get(name, 0) for ledger in ledgers)
        for name in ("sent", "subscribed", "over_http", "received", "lost", "duplicated")
    ]
    recoveries = [ledger["recovery"] for ledger in ledgers if ledger.get("recovery") is not None]
    failed = " FAILED" if any(report.failed for report in reports) else ""
    return (
        f"{number}. {FAULTS[number]}{failed}",
        *(f"{count:,}" for count in sums),
        f"{max(recoveries):.1f} s" if recoveries else "at once",
    )
