"""What `DATABASE_URL` may say."""

import pytest
from backend.database_url import parse
from backend.environment import UnusableSetting


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
    parsed = parse(url)

    assert parsed["ENGINE"] == "django.db.backends.sqlite3"
    assert (parsed["NAME"], parsed["OPTIONS"]) == (name, {})


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
                "PORT": 25060,
                "OPTIONS": {"sslmode": "require", "channel_binding": "require"},
            },
        ),
        ("postgresql://db/app", {"NAME": "app", "HOST": "db", "PORT": "", "OPTIONS": {}}),
        ("postgres:///app?host=/run/postgresql", {"OPTIONS": {"host": "/run/postgresql"}}),
        ("postgres:///app", {"NAME": "app", "HOST": ""}),
        ("postgresql://postgres:@/postgres?host=/a%20b", {"OPTIONS": {"host": "/a b"}}),
        ("postgres://%2Frun%2Fpostgresql/app", {"NAME": "app", "HOST": "/run/postgresql"}),
        (
            "postgres://a%40b:%2F%3F%23%25%40:+@db/app",
            {"NAME": "app", "HOST": "db", "USER": "a@b", "PASSWORD": "/?#%@:+"},
        ),
        ("postgres://app:p@ss@db/app", {"HOST": "db", "USER": "app", "PASSWORD": "p@ss"}),
        ("postgres://[::1]:5433/app", {"NAME": "app", "HOST": "::1", "PORT": 5433}),
    ],
)
def test_postgresql(url: str, expected: dict):
    """What libpq and the usual hosts write is understood, socket files included."""
    parsed = parse(url)

    assert parsed["ENGINE"] == "django.db.backends.postgresql"
    assert {name: parsed[name] for name in expected} == expected


@pytest.mark.parametrize("url", ["", None])
def test_none(url):
    """Without one the error says where to get it."""
    with pytest.raises(UnusableSetting, match=r"DATABASE_URL is not set.*\.env.*postgres:"):
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
        ("postgres://app:secret[@db]:5432/app", "host, port or name cannot be read"),
        ("postgres://app:secret@db:port/app", "host, port or name cannot be read"),
        ("postgres://app:secret@db:65536/app", "host, port or name cannot be read"),
        ("postgres://app:secret/app", "host, port or name cannot be read"),
        ("postgres://app:secret@db", "the name of the database is missing"),
        ("postgres://app:secret@db/", "the name of the database is missing"),
        ("sqlite://db.sqlite3", "the path of the file is missing"),
        ("sqlite://:memory:", "the path of the file is missing"),
        ("sqlite:///", "the path of the file is missing"),
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
