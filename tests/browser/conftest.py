"""Starts a browser, and the servers that it visits."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from ..faults.project import Project
from ..stack.conftest import logs
from ..stack.stack import WAIT_SECONDS, Stack
from . import chromium
from .chromium import Visitor

__all__ = ["logs"]


# Not for the session: while Playwright runs, no other test of the process can have an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine."""
    executable = chromium.executable()
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """nginx, Daphne, Gunicorn and Redis, running; a test that changes this mends it."""
    project = Project(tmp_path_factory.mktemp("out"), use_chat=True)
    with Stack(project, tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[[str], Visitor]]:
    """A function that sends somebody with a fresh browser to a server."""
    visitors = []

    def visitor(origin: str) -> Visitor:
        visitors.append(Visitor(browser, origin))
        return visitors[-1]

    yield visitor
    for each in visitors:
        each.context.close()


@pytest.fixture
def page(stack: Stack, visitor: Callable[[str], Visitor]) -> Visitor:
    """Somebody on a page of the server itself."""
    page = visitor(f"http://127.0.0.1:{stack.nginx.port}")
    page.visit("/admin/login/")
    return page


@pytest.fixture(scope="package")
def accounts() -> Iterator[str]:
    """Names that nobody has yet."""
    return (f"visitor-{number}" for number in range(100))


@pytest.fixture
def person(page: Visitor, accounts: Iterator[str]) -> dict:
    """Whoever visits the page has registered and signed in."""
    return page.do("register", next(accounts))
