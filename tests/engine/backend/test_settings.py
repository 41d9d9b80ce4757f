"""What the environment decides, and what it must not."""

import re
from pathlib import Path

import pytest
from backend import settings as module
from backend.environment import UnusableSetting
from backend.tests import test_settings as own
from backend.tests.test_settings import PRODUCTION, is_setting

# Fixtures of the project's own tests.
load = own.load


def test_an_absolute_sqlite_path(load, tmp_path: Path):
    """An absolute path is taken as it is."""
    path = Path(tmp_path, "db.sqlite3")

    assert load(DATABASE_URL=f"sqlite:///{path}")["DATABASES"]["default"]["NAME"] == path


def test_options_of_the_url(load):
    """They come on top of the project's."""
    url = "postgres://db/app?options=-c%20search_path%3Da&connect_timeout=9"

    options = load(DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]

    assert options == {
        "options": "-c search_path=a",
        "connect_timeout": 9,
    }


def test_names_in_redis_carry_the_deployments_own(load):
    """Staging hears nothing of production, and counts no requests of it, on the same server."""
    redis = {"REDIS_URL": "redis://127.0.0.1:6379/0"}

    names = [
        (
            settings["CHANNEL_LAYERS"]["default"]["CONFIG"]["prefix"],
            settings["CACHES"]["default"]["KEY_PREFIX"],
        )
        for settings in (load(**redis), load(**redis, REDIS_PREFIX="staging"))
    ]

    assert names == [
        ("my-realtime-backend", "my-realtime-backend:cache"),
        ("staging", "staging:cache"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "*"),
        ("HTTPS", "maybe"),
        ("SECURE_HSTS_SECONDS", "-1"),
        ("REALTIME_TICK_SECONDS", "abc"),
        ("REALTIME_TICK_SECONDS", "0"),
        ("REALTIME_LOCK_TIMEOUT_SECONDS", "0"),
        ("REALTIME_DATABASE_THREADS", "0"),
        ("REALTIME_RETENTION_DAYS", "nan"),
        ("METRICS_PORT", "70000"),
        ("ACCESS_TOKEN_MINUTES", "0"),
        ("REFRESH_TOKEN_DAYS", "99999999999"),
        ("REGISTER_RATE", "10/fortnight"),
        ("LOG_LEVEL", "verbose"),
        ("ALLOWED_HOSTS", "https://example.com"),
        ("CORS_ALLOWED_ORIGINS", "app.example.com"),
        ("CSRF_TRUSTED_ORIGINS", "app.example.com"),
        ("WEBSOCKET_ALLOWED_ORIGINS", "example.com/"),
        ("DATABASE_URL", "psql://db/app"),
        ("REDIS_URL", "localhost:6379"),
    ],
)
def test_what_cannot_be_used(load, name: str, value: str):
    """The project does not start with it, and the error names the setting."""
    with pytest.raises(UnusableSetting, match=f"^{name} "):
        load(**{name: value})


def test_every_setting_may_be_empty(load):
    """An empty variable, as `NAME=` in a file makes it, is one that is not set."""
    names = re.findall(r'env\.\w+\(\s*"(\w+)"', Path(module.__file__).read_text("utf-8"))
    assert len(names) > 40
    empty = dict.fromkeys(set(names) - PRODUCTION.keys(), "")
    # Objects that are made anew each time.
    new = {"env", "CHANNEL_LAYERS", "CACHES"}

    settings = load(**empty)

    assert {
        name: value
        for name, value in load().items()
        if is_setting(name) and name not in new and value != settings[name]
    } == {}


def test_a_key_with_a_dollar_sign(load):
    """A key is taken as it is, and nothing in it for the name of another variable."""
    key = "$k3Yz-0f-a-production-that-is-l0ng-and-begins-with-a-d0llar"

    assert load(SECRET_KEY=key)["SECRET_KEY"] == key


@pytest.mark.parametrize("level", ["debug", "DEBUG"])
def test_the_level_of_the_log(load, level: str):
    """It is written in capital letters or small ones."""
    assert load(LOG_LEVEL=level)["LOGGING"]["root"]["level"] == "DEBUG"


def test_with_sentinels(load):
    """One URL of several Sentinels is one host of the channel layer, and one of the cache."""
    url = "redis+sentinel://:secret@one,two/mymaster"

    settings = load(REDIS_URL=url)

    (host,) = settings["CHANNEL_LAYERS"]["default"]["CONFIG"]["hosts"]
    assert host["sentinels"] == [("one", 26379), ("two", 26379)]
    assert host["socket_timeout"] == 5
    assert settings["CACHES"]["default"]["LOCATION"] == [url]
