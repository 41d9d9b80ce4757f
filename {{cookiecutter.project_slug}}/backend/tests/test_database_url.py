"""What `DATABASE_URL` may say."""

from typing import Any

import pytest

from backend.database_url import parse
from backend.environment import UnusableSetting

POSTGRESQL: dict[str, Any] = {
    "ENGINE": "django.db.backends.postgresql",
    **dict.fromkeys(("USER", "PASSWORD", "HOST", "PORT"), ""),
    "OPTIONS": {},
}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///db.sqlite3", "db.sqlite3"),
        ("sqlite:////data/db.sqlite3", "/data/db.sqlite3"),
        ("sqlite:////my data/a+b%23.sqlite3", "/my data/a+b#.sqlite3"),
        ("sqlite:///C:/data/db.sqlite3", "C:/data/db.sqlite3"),
    ],
)
def test_sqlite(url: str, name: str):
    """SQLite is a path, relative after three slashes and absolute after four."""
    assert parse(url) == {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": {}}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgres://app:secret@db.example.com:25060/app?sslmode=require&channel_binding=require",
            {
                "NAME": "app",
                "USER": "app",
                "PASSWORD": "secret",
                "HOST": "db.example.com",
                "PORT": "25060",
                "OPTIONS": {"sslmode": "require", "channel_binding": "require"},
            },
        ),
        ("postgresql://db/app", {"NAME": "app", "HOST": "db"}),
        ("postgres:///app?host=/run/postgresql", {"NAME": "app", "HOST": "/run/postgresql"}),
        ("postgres:///app", {"NAME": "app"}),
        (
            "postgresql://postgres:@/postgres?host=/home/a%20b",
            {"NAME": "postgres", "USER": "postgres", "HOST": "/home/a b"},
        ),
        ("postgres://%2Frun%2Fpostgresql/app", {"NAME": "app", "HOST": "/run/postgresql"}),
        (
            "postgres://a%40b:%2F%3F%23%25%40:+@db/app",
            {"NAME": "app", "HOST": "db", "USER": "a@b", "PASSWORD": "/?#%@:+"},
        ),
        ("postgres://app:p@ss@db/app", {"NAME": "app", "HOST": "db", "USER": "app"}),
        ("postgres://[::1]:5433/app", {"NAME": "app", "HOST": "::1", "PORT": "5433"}),
        ("postgres://one:1,two:2/app", {"NAME": "app", "HOST": "one,two", "PORT": "1,2"}),
        (
            "postgres:///?service=mine&options=-c%20search_path%3Da",
            {"NAME": "", "OPTIONS": {"service": "mine", "options": "-c search_path=a"}},
        ),
        (
            "postgres:///app?user=ada&password=p%40ss&port=5433",
            {"NAME": "app", "USER": "ada", "PASSWORD": "p@ss", "PORT": "5433"},
        ),
    ],
)
def test_postgresql(url: str, expected: dict):
    """What libpq and the usual hosts write is understood, socket files included."""
    password = {"PASSWORD": "p@ss"} if "app:p@ss" in url else {}
    assert parse(url) == POSTGRESQL | expected | password


@pytest.mark.parametrize("url", ["", None])
def test_none(url):
    """Without one the error says where to get it."""
    with pytest.raises(UnusableSetting, match=r"DATABASE_URL is not set.*make install.*postgres:"):
        parse(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("psql://app:secret@db/app", "nothing is known of psql://"),
        ("mysql://app:secret@db/app", "nothing is known of mysql://"),
        ("app:secret@db/app", "begins with no scheme"),
        ("host=db password=secret", "begins with no scheme"),
        ('"postgres://app:secret@db/app"', "begins with no scheme"),
        ("postgres://app:secret?@db:5432/app", "in a password write ? as %3F"),
        ("postgres://app:12?secret@db:5432/app", "in a password write ? as %3F"),
        ("postgres://app:secret#@db:5432/app", "in a password write # as %23"),
        ("postgres://app:secret/@db:5432/app", "in a password write / as %2F"),
        ("postgres://app:12/secret@db:5432/app", "in a password write / as %2F"),
        ("postgres://app:se/cr?et#@db/app", "write / as %2F and ? as %3F and # as %23"),
        ("postgres://app%:secret@db:5432/app", "write % as %25"),
        ("postgres://app:secret[@db]:5432/app", "of which IPv6 has its own in [ ]"),
        ("postgres://app:secret@db:port/app", "the port is no number from 1 to 65535"),
        ("postgres://app:secret@db:0/app", "the port is no number"),
        ("postgres://app:secret@db:65536/app", "the port is no number"),
        ("postgres://app:secret@db/app?port=x", "the port is no number"),
        ("postgres://app:secret/app", "the port is no number"),
        ("postgres://app:secret@db", "the name of the database is missing"),
        ("postgres://app:secret@db/", "the name of the database is missing"),
        ("postgres://app:secret@db/app/more", "follows the name of the database"),
        ("postgres://app:secret@db/app#more", "follows the name of the database"),
        ("postgres://app:secret@db/app?sslmode", "it takes ?name=value"),
        ("sqlite://db.sqlite3", "begins after sqlite:///"),
        ("sqlite://:memory:", "begins after sqlite:///"),
        ("sqlite:///", "the path is missing"),
        ("sqlite:///db?timeout=5", "write ? in a path as %3F"),
        ("sqlite:///a#b", "write # in a path as %23"),
        ("sqlite:///100%/db", "write % as %25"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, reason: str):
    """The error says what is wrong and what it takes, and nothing that may be the password."""
    with pytest.raises(UnusableSetting) as caught:
        parse(url)

    message = str(caught.value)
    assert message.startswith("DATABASE_URL cannot be used: ")
    assert reason in message
    assert "It takes sqlite:////absolute/path or postgres://user:password@host" in message
    assert not any(part in message for part in ("se/", "cret", "12"))
    assert caught.value.__suppress_context__
