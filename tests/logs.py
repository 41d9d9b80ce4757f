"""The logs of all processes of a test run, which may hold none of the tokens that they gave out.

The app `issued`, in each of the project's processes, writes down what is issued; `keep` has the
logs outlive the folders of their tests. The run ends with a search, and fails if it finds anything.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER_VARIABLE = "TESTS_LOGS"
# Characters at the beginning of a ticket or signature: enough to know it, and a log may cut it.
KNOWN_LENGTH = 20
# What may hold such characters, and the first part of any JSON Web Token.
_runs = re.compile(rf"[\w-]{{{KNOWN_LENGTH},}}", re.ASCII)
_looks_like_a_token = re.compile(r"eyJ[\w-]{15,}", re.ASCII)


def folder() -> Path:
    """Return the folder of this run, which the processes of pytest-xdist share."""
    if FOLDER_VARIABLE not in os.environ:
        os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(
            prefix="logs-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")
        )
    return Path(os.environ[FOLDER_VARIABLE])


def issued() -> Path:
    """Return the file that lists every token, ticket and refresh token, one a line."""
    return folder() / "issued"


def keep(log: Path) -> None:
    """Have the run look at a log at its end, also if its folder is gone by then."""
    kept = folder() / f"{log.parent.name}-{log.name}-{log.stat().st_ino}.log"
    if not kept.exists():
        kept.hardlink_to(log)


class Search(NamedTuple):
    """What came of looking for tokens."""

    tokens: int
    logs: int
    #: The log and the line of everything that is or looks like a token.
    found: list[str]


def search() -> Search:
    """Look for every token in every log."""
    tokens = issued().read_text().split() if issued().exists() else []
    known = {token.rpartition(".")[2][:KNOWN_LENGTH] for token in tokens}
    logs = sorted(folder().glob("*.log"))
    found = [f"{log.name}, line {number}" for log in logs for number in _lines(log, known)]
    return Search(len(tokens), len(logs), found)


def _lines(log: Path, known: set[str]) -> Iterator[int]:
    with log.open(errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if _looks_like_a_token.search(line) or any(
                run[start : start + KNOWN_LENGTH] in known
                for run in _runs.findall(line)
                for start in range(len(run) - KNOWN_LENGTH + 1)
            ):
                yield number


def pytest_configure() -> None:
    """Make the folder before the processes of pytest-xdist start."""
    folder()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a log has a token."""
    if hasattr(session.config, "workerinput"):
        return  # The process that pytest was started as looks at all logs.
    result = session.config.stash[SEARCH] = search()
    if result.found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was looked at and where something was found."""
    result = terminalreporter.config.stash[SEARCH]
    if result.logs:
        terminalreporter.section("tokens in logs")
        terminalreporter.line(
            f"{result.tokens:,} tokens were issued, and {result.logs:,} logs searched."
        )
    for place in result.found:
        terminalreporter.line(f"A TOKEN IS IN {place} of {folder()}", red=True)


SEARCH = pytest.StashKey[Search]()
