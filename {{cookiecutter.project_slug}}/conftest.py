"""Fixtures that the tests of every app share, and what the tests may touch."""

import gc
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any
{%- if cookiecutter.database == "postgresql" %}
from urllib.parse import urlsplit
{%- endif %}

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.core.cache import cache
from django.db import connection, connections, transaction
{%- if cookiecutter.database == "postgresql" %}
from django.db.utils import Error
{%- endif %}
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts import tokens
from accounts.models import User
{%- if cookiecutter.database == "postgresql" %}
from backend import database_url, postgres
{%- endif %}
from realtime import database
from realtime.hub import Hub

Held = Callable[[Callable[[], object]], AbstractContextManager[None]]

SETTINGS = "backend.settings_test"


def pytest_configure() -> None:
    """Touch no database but one for tests."""
    if settings.SETTINGS_MODULE != SETTINGS:
        raise pytest.UsageError(
            f"The tests run with {SETTINGS}, not with {settings.SETTINGS_MODULE}, which names the "
            "database and the Redis that somebody works with: take --ds out of the options and of "
            "PYTEST_ADDOPTS"
        )
{%- if cookiecutter.database == "postgresql" %}
    if not os.environ.get("TEST_DATABASE_URL"):
        # pytest-xdist's processes inherit the variable and share the server.
        os.environ["TEST_DATABASE_URL"] = postgres.url_of(postgres.bundled_server())
        server = database_url.parse(os.environ["TEST_DATABASE_URL"])
        server["OPTIONS"] = settings.DATABASES["default"]["OPTIONS"] | server["OPTIONS"]
        for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS"):
            settings.DATABASES["default"][key] = server[key]
    default = connections["default"]
    try:
        with default.wrap_database_errors:
            default.get_new_connection(default.get_connection_params()).close()
    except Error as error:
        raise pytest.UsageError(f"TEST_DATABASE_URL cannot be used: {error}") from None
{%- endif %}


def pytest_collection_finish() -> None:
    """Keep what has been imported from being looked through, again and again, for what is gone."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def database_of_the_session(django_db_setup: None) -> Iterator[None]:
    """The database of all tests; the connections of other threads, asgiref's too, close first."""
    yield
    database.close()
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Start every test with no request counted."""
    cache.clear()


@pytest.fixture
def user(db: None) -> User:
    """A user named ada."""
    return User.objects.create_user("ada", "ada@example.com", "analytical-engine")


@pytest.fixture
def other_user(db: None) -> User:
    """A user named grace."""
    return User.objects.create_user("grace", "grace@example.com", "compiler-1952")


@pytest.fixture
def access_token(user: User) -> str:
    """A valid access token of `user`."""
    return tokens.issue(user).access


@pytest.fixture
def anonymous() -> APIClient:
    """A REST client that is not signed in."""
    return APIClient()


@pytest.fixture
def api(access_token: str) -> APIClient:
    """A REST client that carries `access_token`."""
    return APIClient(headers={"authorization": f"Bearer {access_token}"})


@pytest.fixture(scope="session")
def process_environment(database_of_the_session: None) -> dict[str, str]:
    """The environment of a process that shall work on the same database as a test."""
    name = connection.settings_dict["NAME"]
{%- if cookiecutter.database == "postgresql" %}
    url = urlsplit(os.environ["TEST_DATABASE_URL"])._replace(path=f"/{name}").geturl()
{%- else %}
    url = f"sqlite:///{name}"
{%- endif %}
    return os.environ | {"DJANGO_SETTINGS_MODULE": SETTINGS, "TEST_DATABASE_URL": url}


@pytest.fixture
def at_once(transactional_db: None) -> Callable[..., list[Any]]:
    """A function that makes calls at the same time, each on a thread and a connection of its own.

    It gives what they return, and raises what one of them raises.
    """

    def at_once(*calls: Callable[[], Any]) -> list[Any]:
        start = threading.Barrier(len(calls))

        def run(call: Callable[[], Any]) -> Any:
            start.wait(30)
            try:
                return call()
            finally:
                connection.close()

        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(run, calls))

    return at_once


@pytest.fixture
def held() -> Held:
    """A context in which another thread's transaction has done something and stays open."""

    @contextmanager
    def held(work: Callable[[], object]) -> Iterator[None]:
        done, release = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic():
                work()
                done.set()
                release.wait(30)
            connection.close()

        thread = threading.Thread(target=hold)
        thread.start()
        done.wait(30)
        try:
            yield
        finally:
            release.set()
            thread.join()

    return held


@pytest.fixture
def short_lock_timeout(settings: Settings, db: None) -> Iterator[None]:
    """Let this thread wait for a lock for 50 ms only."""
    settings.REALTIME_LOCK_TIMEOUT_SECONDS = 0.1
    if connection.vendor == "sqlite":
        # Which it was told when it connected.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 50")
    yield
    connection.close()


@pytest.fixture
async def hub(transactional_db: None) -> AsyncIterator[Hub]:
    """The hub of the test's event loop; it ends with the test."""
    hub = Hub.current()
    yield hub
    await hub.close()
