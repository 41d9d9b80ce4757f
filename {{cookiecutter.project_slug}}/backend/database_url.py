"""What `DATABASE_URL` says, read the same way by everything that uses it.

    sqlite:///db.sqlite3                        a file in the project
    sqlite:////data/db.sqlite3                  a file anywhere
    postgres://user:password@host:5432/name     also with options: ?sslmode=require
    postgres:///name?host=/run/postgresql       a socket file

What a user name or a password holds of `/?#%@` is percent-encoded there.
"""

import re
from typing import Any

import dj_database_url

from .environment import UnusableSetting

# Another database that Django knows takes a line here, and its options one in settings.py.
SCHEMES = ("sqlite", "postgres", "postgresql")
# What ends the part of a URL that holds the password, and how to write it there.
CODES = {"/": "%2F", "?": "%3F", "#": "%23"}


def parse(url: str) -> dict[str, Any]:
    """Return a database's settings, as Django has them.

    Raises:
        UnusableSetting: the URL cannot be read. No part of it is shown that may hold the password.
    """
    if not url:
        raise UnusableSetting(
            "DATABASE_URL is not set. Set it in .env or in the environment, to "
            "sqlite:////absolute/path or postgres://user:password@host:5432/name"
        )
    try:
        return _parse(url)
    except ValueError as error:
        raise UnusableSetting(
            f"DATABASE_URL cannot be used: {error}. It takes sqlite:////absolute/path or "
            "postgres://user:password@host:5432/name, where / ? # % @ in a password are written "
            "%2F %3F %23 %25 %40"
        ) from None


def _parse(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        if rest and re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
            raise ValueError(f"nothing is known of {scheme}://")
        raise ValueError("it begins with no scheme")
    login = rest.rpartition("@")[0]
    wrong = [f"{character} as {code}" for character, code in CODES.items() if character in login]
    if wrong:
        raise ValueError(f"in a password write {' and '.join(wrong)}")
    try:
        database = dict(dj_database_url.parse(url))
    except ValueError:
        # Its own message may quote the password.
        raise ValueError("host, port or name cannot be read") from None
    if database["NAME"] in ("", ":memory:"):
        missing = "path of the file" if scheme == "sqlite" else "name of the database"
        raise ValueError(f"the {missing} is missing at its end")
    return {"OPTIONS": {}} | database
