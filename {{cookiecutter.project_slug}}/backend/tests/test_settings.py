"""What the environment decides, and what it must not."""

import os
import runpy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import identify_hasher, make_password
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from accounts.hashers import PasswordHasher
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


def test_secret_key(load, subtests: pytest.Subtests):
    """Without a real SECRET_KEY nothing starts, and the error says how to get one."""
    for debug in ("on", "off"):
        for key in (None, "", "short", "change-me" * 9, "django-insecure-" + "x" * 50):
            with (
                subtests.test(debug=debug, key=key),
                pytest.raises(UnusableSetting, match=r"SECRET_KEY.*local_files\.py"),
            ):
                load(SECRET_KEY=key, DEBUG=debug)


def test_missing_hosts(load, subtests: pytest.Subtests):
    """In production the hosts have to be named; in development this machine is the default."""
    for hosts in (None, "", " "):
        with (
            subtests.test(hosts=hosts),
            pytest.raises(UnusableSetting, match=r"ALLOWED_HOSTS.*example\.com"),
        ):
            load(ALLOWED_HOSTS=hosts)
    assert "localhost" in load(ALLOWED_HOSTS=None, DEBUG="on")["ALLOWED_HOSTS"]


def test_database_url(load, subtests: pytest.Subtests):
    """No database is used by default, and the error shows what to write."""
    for url in (None, ""):
        with (
            subtests.test(url=url),
            pytest.raises(UnusableSetting, match=r"DATABASE_URL.*postgres://"),
        ):
            load(DATABASE_URL=url)


def test_https(load, subtests: pytest.Subtests):
    """One variable decides whether cookies and redirects insist on HTTPS."""
    for https in ("on", "off"):
        with subtests.test(https=https):
            settings = load(HTTPS=https)

            is_on = https == "on"
            assert settings["SECURE_SSL_REDIRECT"] is is_on
            assert settings["SESSION_COOKIE_SECURE"] is is_on
            assert settings["CSRF_COOKIE_SECURE"] is is_on
            assert bool(settings["SECURE_HSTS_SECONDS"]) is is_on


@pytest.mark.django_db
def test_insecure_production(load):
    """Where any of these is off in production the deployment check names it."""
    names = ["SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"]
    off = load(**dict.fromkeys(names, "off"))
    settings = {name: value for name, value in off.items() if is_setting(name)}
    settings.pop("DATABASES")

    with override_settings(**settings), pytest.raises(SystemCheckError) as caught:
        call_command("check", deploy=True, tags=["security"], fail_level="WARNING")

    assert [name for name in names if name not in str(caught.value)] == []


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


def test_postgresql(load):
    """PostgreSQL is used in a way that works behind a pooler too, and the URL may add options."""
    url = "postgres://app:secret@db:5432/app?sslmode=require"

    database = load(DATABASE_URL=url)["DATABASES"]["default"]

    assert database["NAME"] == "app"
    assert database["OPTIONS"] == {"connect_timeout": 5, "sslmode": "require"}
    assert database["DISABLE_SERVER_SIDE_CURSORS"]


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


def test_the_env_file(load, tmp_path: Path):
    """A file gives what the environment itself does not."""
    file = Path(tmp_path, "production.env")
    file.write_text("ALLOWED_HOSTS=from-the-file\nREGISTRATION_OPEN=off\n", "utf-8")

    settings = load(ENV_FILE=str(file))

    assert settings["ALLOWED_HOSTS"] == ["example.com"]
    assert settings["REGISTRATION_OPEN"] is False


def test_passwords_are_hashed_with_argon2(load, monkeypatch):
    """Argon2 comes first, and is installed."""
    # Too little for a password of somebody, and made in no time.
    monkeypatch.setattr(PasswordHasher, "memory_cost", 64)

    with override_settings(PASSWORD_HASHERS=load()["PASSWORD_HASHERS"]):
        assert identify_hasher(make_password("analytical-engine")).algorithm == "argon2"
