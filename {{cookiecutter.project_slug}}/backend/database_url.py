"""What `DATABASE_URL` says, read the same way by everything that uses it.

    sqlite:///db.sqlite3                        a file in the project
    sqlite:////data/db.sqlite3                  a file anywhere
    postgres://user:password@host:5432/name     also with options: ?sslmode=require
    postgres:///name?host=/run/postgresql       a socket file

What a user name or a password holds of `/?#%@` is percent-encoded there.
"""

import re
from typing import Any
from urllib.parse import unquote

from .environment import UnusableSetting

# Another database that Django knows takes a line here, and its options one in settings.py.
ENGINES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
}
# What ends the part of a URL that holds the password, and how to write it there.
_CODES = (("/", "%2F"), ("?", "%3F"), ("#", "%23"))
# Options that are settings of Django's own, which has them in capital letters.
_SETTINGS = ("host", "port", "user", "password")

_PARTS = re.compile(
    r"(?:(?P<login>[^/?#]*)@)?(?P<addresses>[^/?#@]*)(?:/(?P<name>[^/?#@]*))?(?:\?(?P<query>[^#]*))?"
)
_ADDRESS = re.compile(r"(?P<host>\[[^]]*\]|[^:[\]]*)(?::(?P<port>.*))?")


def parse(url: str) -> dict[str, Any]:
    """Give a database's settings, as Django has them.

    Raises:
        UnusableSetting: the URL cannot be read. No part of it is shown that may hold the password.
    """
    if not url:
        raise UnusableSetting(
            "DATABASE_URL is not set. `make install` writes a .env with one for development; in "
            "production set it to sqlite:////absolute/path or "
            "postgres://user:password@host:5432/name"
        )
    scheme, _, rest = url.partition("://")
    engine = ENGINES.get(scheme.lower())
    try:
        if engine is None:
            raise ValueError(
                f"nothing is known of {scheme}://"
                if rest and re.fullmatch(r"[A-Za-z][\w+.-]*", scheme)
                else "it begins with no scheme"
            )
        if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
            raise ValueError("write % as %25")
        parts = _file(rest) if engine == ENGINES["sqlite"] else _server(rest)
    except ValueError as error:
        raise UnusableSetting(
            f"DATABASE_URL cannot be used: {error}. It takes sqlite:////absolute/path or "
            "postgres://user:password@host:5432/name"
        ) from None
    return {"ENGINE": engine} | parts


def _file(rest: str) -> dict[str, Any]:
    """Read what follows `sqlite://`."""
    for character, code in _CODES[1:]:
        if character in rest:
            raise ValueError(f"write {character} in a path as {code}; SQLite takes no options here")
    if not rest.startswith("/"):
        raise ValueError("a path begins after sqlite:///, and an absolute one with a fourth /")
    if rest == "/":
        raise ValueError("the path is missing, and a database in memory would be lost at once")
    return {"NAME": unquote(rest[1:]), "OPTIONS": {}}


def _server(rest: str) -> dict[str, Any]:
    """Read what follows `postgres://`."""
    try:
        return _server_parts(rest)
    except ValueError:
        login = rest.rpartition("@")[0]
        if wrong := [f"{character} as {code}" for character, code in _CODES if character in login]:
            raise ValueError(f"in a password write {' and '.join(wrong)}") from None
        raise


def _server_parts(rest: str) -> dict[str, Any]:
    parts = _PARTS.fullmatch(rest)
    if parts is None:
        raise ValueError("something that cannot be read follows the name of the database")
    user, _, password = (parts["login"] or "").partition(":")
    hosts, ports = [], []
    for address in parts["addresses"].split(","):
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise ValueError("a host is no name and no address, of which IPv6 has its own in [ ]")
        hosts.append(unquote(match["host"]).strip("[]"))
        ports.append(_port(match["port"] or ""))
    settings: dict[str, Any] = {
        "NAME": unquote(parts["name"] or ""),
        "USER": unquote(user),
        "PASSWORD": unquote(password),
        "HOST": ",".join(hosts),
        "PORT": ",".join(ports) if any(ports) else "",
        "OPTIONS": {},
    }
    for option in filter(None, (parts["query"] or "").split("&")):
        name, separator, value = option.partition("=")
        if not separator:
            raise ValueError("an option has no value: it takes ?name=value")
        if name in _SETTINGS:
            settings[name.upper()] = _port(value) if name == "port" else unquote(value)
        else:
            settings["OPTIONS"][unquote(name)] = unquote(value)
    if not settings["NAME"] and "service" not in settings["OPTIONS"]:
        raise ValueError("the name of the database is missing at its end")
    return settings


def _port(text: str) -> str:
    if text and not (text.isdecimal() and 0 < int(text) <= 65_535):
        # Not shown: without an @ it is the password.
        raise ValueError("the port is no number from 1 to 65535")
    return text
