"""Reads settings from the environment, and from `.env` what the environment lacks.

A value that is empty counts as not set. One that cannot be used is refused in a sentence with the
name of the setting, what it takes, and the value where that is no secret.
"""

import builtins
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from dotenv.parser import parse_stream

BASE_DIR = Path(__file__).resolve().parent.parent
# The status by which Gunicorn and Uvicorn know that there is no use in starting another worker.
CANNOT_START = 3
# What fits into a column of a database and into C's int.
LARGEST = 2_147_483_647
# How much of a value is shown.
SHOWN_CHARACTERS = 80

TRUE = {"on", "true", "yes", "y", "t", "1"}
FALSE = {"off", "false", "no", "n", "f", "0"}

_SECRET = re.compile(r"(KEY|PASSWORD|SECRET|TOKEN|DSN|URL)S?$")


class UnusableSetting(ImproperlyConfigured):
    """A setting cannot be used; the message says so to whoever starts the project."""


class Form(NamedTuple):
    """How a text has to look: a pattern, and what it takes in words."""

    pattern: str
    words: str


_HOST = r"\*|\.?[\w-]+(\.[\w-]+)*\.?|\[[\da-fA-F:.]+\]"
_ORIGIN = r"null|file://|[A-Za-z][\w+.-]*://[^/?#\s]+"
FORMS = {
    "host": Form(_HOST, "host names without a scheme or a port, such as example.com"),
    "origin": Form(_ORIGIN, "origins without a / at the end, such as https://app.example.com"),
    "host or origin": Form(
        f"{_HOST}|{_ORIGIN}", "host names or origins, such as https://app.example.com"
    ),
    "level": Form(
        r"(?i:debug|info|warning|error|critical)", "DEBUG, INFO, WARNING, ERROR or CRITICAL"
    ),
    "rate": Form(
        r"[1-9]\d*/(s|sec|second|m|min|minute|h|hour|d|day)",
        "a number per second, minute, hour or day, such as 10/hour",
    ),
}


class Environment:
    """The variables of this process; the file gives those that the process does not have."""

    def __init__(self) -> None:
        named = os.environ.get("ENV_FILE", "").strip()
        self.file = Path(named) if named else BASE_DIR / ".env"
        self._in_file = {} if not named and not self.file.exists() else read_file(self.file)
        for name, value in self._in_file.items():
            # Libraries and child processes look there too.
            os.environ.setdefault(name, value)

    def str(
        self, name: builtins.str, default: builtins.str = "", form: builtins.str | None = None
    ) -> builtins.str:
        """Return a text without the space around it, in one of the `FORMS`."""
        value = os.environ.get(name, "").strip()
        self._check(name, value, form)
        return value or default

    def bool(self, name: builtins.str, default: builtins.bool = False) -> builtins.bool:
        """Return whether something is on."""
        value = self.str(name)
        if value.lower() in TRUE | FALSE:
            return value.lower() in TRUE
        if value:
            raise self.refusal(name, value, "on or off")
        return default

    def int(
        self,
        name: builtins.str,
        default: builtins.int = 0,
        least: builtins.int = 0,
        most: builtins.int = LARGEST,
    ) -> builtins.int:
        """Return a whole number within bounds."""
        value = self.str(name)
        with suppress(ValueError):
            if least <= (number := int(value) if value else default) <= most:
                return number
        raise self.refusal(name, value, f"a whole number from {least} to {most}")

    def float(
        self,
        name: builtins.str,
        default: builtins.float = 0.0,
        least: builtins.float = 0.0,
        most: builtins.float = LARGEST,
    ) -> builtins.float:
        """Return a number within bounds."""
        value = self.str(name)
        with suppress(ValueError):
            if least <= (number := float(value) if value else default) <= most:
                return number
        raise self.refusal(name, value, f"a number from {least:g} to {most:.10g}")

    def list(
        self,
        name: builtins.str,
        default: Sequence[builtins.str] = (),
        form: builtins.str | None = None,
    ) -> builtins.list[builtins.str]:
        """Return what commas separate, each in one of the `FORMS`."""
        items = [item.strip() for item in self.str(name).split(",")]
        items = [item for item in items if item]
        for item in items:
            self._check(name, item, form)
        return items or list(default)

    def refusal(
        self, name: builtins.str, value: builtins.str, takes: builtins.str
    ) -> UnusableSetting:
        """Return the error for a value, or a part of one, that a setting does not take."""
        is_in_file = self._in_file.get(name) == os.environ.get(name)
        if _SECRET.search(name):
            shown = "***"
        else:
            shown = repr(re.sub(r"(?<=//).*@", "***@", value)[:SHOWN_CHARACTERS])
        place = self.file if is_in_file else "the environment"
        return UnusableSetting(f"{name} is {shown} in {place}, but takes {takes}.")

    def _check(self, name: builtins.str, value: builtins.str, form: builtins.str | None) -> None:
        if value and form and not re.fullmatch(FORMS[form].pattern, value):
            raise self.refusal(name, value, FORMS[form].words)


def read_file(file: Path) -> dict[str, str]:
    """Return the variables of a file with a line NAME=value for each.

    Raises:
        UnusableSetting: a line cannot be read. Its number is told: what it says may be secret.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UnusableSetting(
            f"{file} cannot be read: {reason}. ENV_FILE names another file, "
            f"ENV_FILE={os.devnull} none."
        ) from None
    variables = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise UnusableSetting(
                f"Line {binding.original.line} of {file} cannot be read: write NAME=value, with a "
                "quote at both ends of the value or at none, and # before a comment."
            )
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return variables


@contextmanager
def explained() -> Iterator[None]:
    """End with one sentence, and no traceback, where a setting cannot be used."""
    try:
        yield
        return
    except UnusableSetting as error:
        sentence = str(error)
    except ModuleNotFoundError as error:
        module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        if not error.name or not f"{module}.".startswith(f"{error.name}."):
            raise
        sentence = (
            f"DJANGO_SETTINGS_MODULE is {module!r} in the environment, but there is no such "
            "module. Unset it: this project's settings are backend.settings."
        )
    print(f"Error: {sentence}", file=sys.stderr)
    raise SystemExit(CANNOT_START)
