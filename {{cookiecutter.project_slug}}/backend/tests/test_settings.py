"""What the environment decides, and what it must not."""

import os
import re
import runpy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from backend import settings as module
from backend.environment import UnusableSetting

PRODUCTION = {
    "ENV_FILE": os.devnull,
    "SECRET_KEY": "k3Yz-0f-a-production-that-is-l0ng-and-has-many-d1fferent-characters",
    "ALLOWED_HOSTS": "example.com",
    "DATABASE_URL": "sqlite:///db.sqlite3",
}


@pytest.fixture
def load():
    """Return the settings that an environment makes."""

    def load(**environment: str | None) -> dict[str, Any]:
        variables = PRODUCTION | environment
        said = {name: value for name, value in variables.items() if value is not None}
        with patch.dict(os.environ, said, clear=True):
            return runpy.run_path(module.__file__)

    return load


def is_setting(name: str) -> bool:
    """Whether a global of the settings module is a setting."""
    return name.isupper() and not name.startswith("_")


@pytest.mark.django_db
def test_production_passes_the_deployment_check(load):
    """What production starts with leaves Django's deployment check nothing to warn of."""
    settings = {name: value for name, value in load().items() if is_setting(name)}
    settings.pop("DATABASES")

    with override_settings(**settings):
        call_command("check", deploy=True, fail_level="WARNING")


def test_debug_is_off(load):
    """DEBUG is on only where somebody has said so."""
    assert load()["DEBUG"] is False
    assert load(DEBUG="on")["DEBUG"] is True


@pytest.mark.parametrize("key", [None, "", "short", "change-me" * 9, "django-insecure-" + "x" * 50])
@pytest.mark.parametrize("debug", ["on", "off"])
def test_secret_key(load, key: str | None, debug: str):
    """Without a real SECRET_KEY nothing starts, and the error says how to get one."""
    with pytest.raises(UnusableSetting, match=r"SECRET_KEY.*local_files\.py"):
        load(SECRET_KEY=key, DEBUG=debug)


@pytest.mark.parametrize("hosts", [None, "", " "])
def test_missing_hosts(load, hosts: str | None):
    """In production the hosts have to be named; in development this machine is the default."""
    with pytest.raises(UnusableSetting, match=r"ALLOWED_HOSTS.*example\.com"):
        load(ALLOWED_HOSTS=hosts)
    assert "localhost" in load(ALLOWED_HOSTS=None, DEBUG="on")["ALLOWED_HOSTS"]


@pytest.mark.parametrize("url", [None, ""])
def test_database_url(load, url: str | None):
    """No database is used by default, and the error shows what to write."""
    with pytest.raises(UnusableSetting, match=r"DATABASE_URL.*postgres://"):
        load(DATABASE_URL=url)


@pytest.mark.parametrize("https", ["on", "off"])
def test_https(load, https: str):
    """One variable decides whether cookies and redirects insist on HTTPS."""
    settings = load(HTTPS=https)

    is_on = https == "on"
    assert settings["SECURE_SSL_REDIRECT"] is is_on
    assert settings["SESSION_COOKIE_SECURE"] is is_on
    assert settings["CSRF_COOKIE_SECURE"] is is_on
    assert bool(settings["SECURE_HSTS_SECONDS"]) is is_on


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name", ["SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"]
)
def test_insecure_production(load, name: str):
    """Where one of them is off in production the deployment check names it."""
    settings = {name: value for name, value in load(**{name: "off"}).items() if is_setting(name)}
    settings.pop("DATABASES")

    with override_settings(**settings), pytest.raises(SystemCheckError, match=name):
        call_command("check", deploy=True, fail_level="WARNING")


def test_forwarded_headers_are_not_trusted(load):
    """Forwarded headers count only where a proxy is said to overwrite them."""
    settings = load()
    assert settings["SECURE_PROXY_SSL_HEADER"] is None
    assert settings["REST_FRAMEWORK"]["NUM_PROXIES"] == 0

    behind_proxy = load(TRUST_PROXY="on")
    assert behind_proxy["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")
    assert behind_proxy["REST_FRAMEWORK"]["NUM_PROXIES"] == 1


def test_sqlite(load):
    """SQLite lies in the project, keeps a write-ahead log and queues its writers."""
    database = load(REALTIME_LOCK_TIMEOUT_SECONDS="7")["DATABASES"]["default"]

    assert database["NAME"] == Path(module.BASE_DIR, "db.sqlite3")
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database["OPTIONS"]["timeout"] == 7
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]


def test_an_absolute_sqlite_path(load, tmp_path: Path):
    """An absolute path is taken as it is."""
    path = Path(tmp_path, "db.sqlite3")

    assert load(DATABASE_URL=f"sqlite:///{path}")["DATABASES"]["default"]["NAME"] == path


def test_postgresql(load):
    """PostgreSQL bounds the wait for a lock, and the URL may add options."""
    url = "postgres://app:secret@db:5432/app?sslmode=require"

    database = load(DATABASE_URL=url, REALTIME_LOCK_TIMEOUT_SECONDS="7")["DATABASES"]["default"]

    assert database["NAME"] == "app"
    assert database["OPTIONS"]["options"] == "-c lock_timeout=3500ms"
    assert database["OPTIONS"]["sslmode"] == "require"


def test_options_of_the_url(load):
    """They come on top of the project's: the wait for a lock stays bounded."""
    url = "postgres://db/app?options=-c%20search_path%3Da&connect_timeout=9"

    options = load(DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]

    assert options == {
        "options": "-c lock_timeout=2500ms -c search_path=a",
        "connect_timeout": 9,
    }


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


def test_without_redis(load):
    """Without REDIS_URL the channel layer and the cache live in memory."""
    settings = load(REDIS_URL="")

    assert settings["CHANNEL_LAYERS"]["default"]["BACKEND"].endswith("InMemoryChannelLayer")
    assert settings["CACHES"]["default"]["BACKEND"].endswith("LocMemCache")


def test_with_redis(load):
    """REDIS_URL names one or more servers for the channel layer; the first one is the cache."""
    settings = load(REDIS_URL="redis://one:6379/0,redis://two:6379/0")

    layer = settings["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == "channels_redis.pubsub.RedisPubSubChannelLayer"
    addresses = [host["address"] for host in layer["CONFIG"]["hosts"]]
    assert addresses == ["redis://one:6379/0", "redis://two:6379/0"]
    assert settings["CACHES"]["default"]["LOCATION"] == ["redis://one:6379/0"]


def test_with_sentinels(load):
    """One URL of several Sentinels is one host of the channel layer, and one of the cache."""
    url = "redis+sentinel://:secret@one,two/mymaster"

    settings = load(REDIS_URL=url)

    (host,) = settings["CHANNEL_LAYERS"]["default"]["CONFIG"]["hosts"]
    assert host["sentinels"] == [("one", 26379), ("two", 26379)]
    assert host["socket_timeout"] == 5
    assert settings["CACHES"]["default"]["LOCATION"] == [url]


def test_the_env_file(load, tmp_path: Path):
    """A file gives what the environment itself does not."""
    file = Path(tmp_path, "production.env")
    file.write_text("ALLOWED_HOSTS=from-the-file\nREGISTRATION_OPEN=off\n", "utf-8")

    settings = load(ENV_FILE=str(file))

    assert settings["ALLOWED_HOSTS"] == ["example.com"]
    assert settings["REGISTRATION_OPEN"] is False


def test_passwords_are_hashed_with_argon2(load):
    """Argon2 comes first, and is installed."""
    from django.contrib.auth.hashers import identify_hasher, make_password

    with override_settings(PASSWORD_HASHERS=load()["PASSWORD_HASHERS"]):
        assert identify_hasher(make_password("analytical-engine")).algorithm == "argon2"
