"""The Chromium of this machine, and what one of its pages complains about."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request

SCRIPT = Path(__file__).with_name("visitor.js")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
# What installers of macOS do not put on PATH.
APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
MISSING = (
    "No Chromium is installed here. Install one (Debian: apt-get install chromium; Ubuntu: Google's"
    " package of Chrome; macOS: brew install --cask google-chrome), or say in CHROMIUM where it is."
)


def executable() -> str:
    """Return the path of the browser: what CHROMIUM says, else the first that is installed."""
    if chosen := os.environ.get("CHROMIUM"):
        return chosen
    found = next(filter(None, map(shutil.which, (*NAMES, *APPLICATIONS))), None)
    return found or pytest.fail(MISSING, pytrace=False)


class Visitor:
    """Somebody with a fresh browser, who looks at one page after the other.

    Args:
        browser: the Chromium.
        origin: the server that is visited.
    """

    def __init__(self, browser: Browser, origin: str) -> None:
        self.origin = origin
        #: What went wrong: violations of the policy, messages of the console, requests elsewhere.
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=origin)
        self.context.expose_function("violated", self._complain)
        self.context.add_init_script(path=SCRIPT)
        self.page = self.context.new_page()
        self.context.on("console", self._hear)
        self.context.on("weberror", lambda error: self._complain(str(error.error)))
        self.context.on("request", self._see)

    def visit(self, path: str) -> None:
        """Go to a page."""
        self.page.goto(path)

    def do(self, expression: str, *arguments: Any) -> Any:
        """Run a function of JavaScript in the page and return what it returns or promises."""
        return self.page.evaluate(f"arguments => ({expression})(...arguments)", list(arguments))

    def _complain(self, about: str) -> None:
        self.complaints.append(about)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complain(f"{message.type}: {message.text} ({message.location['url']})")

    def _see(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "blob:", "data:")):
            self._complain(f"request: {request.url}")
