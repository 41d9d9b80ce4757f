"""Fixtures that the tests of every app share."""

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import SyncToAsync
{%- if cookiecutter.database == "postgresql" %}
from django.conf import settings
{%- endif %}
from django.core.cache import cache
from django.db import connection, connections
from rest_framework.test import APIClient

from accounts import tokens
from accounts.models import User
{%- if cookiecutter.database == "postgresql" %}
from backend import postgres
{%- endif %}
from realtime import database
from realtime.hub import Hub
{%- if cookiecutter.database == "postgresql" %}


def pytest_configure() -> None:
    """Run the suite on a PostgreSQL that answers."""
    postgres.answer(settings.DATABASES["default"])
{%- endif %}


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


@pytest.fixture
def process_environment(transactional_db: None) -> dict[str, str]:
    """The environment of a process that shall work on the same database as the test."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        url = f"sqlite:///{name}"
    else:
        url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    return os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "backend.settings_test"}


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
async def hub(transactional_db: None) -> AsyncIterator[Hub]:
    """The hub of the test's event loop; it ends with the test."""
    hub = Hub.current()
    yield hub
    await hub.close()


@pytest.fixture(scope="session", autouse=True)
def database_threads(django_db_setup: None) -> Iterator[None]:
    """Close the connections of other threads, asgiref's too, before the database is dropped."""
    yield
    database.close()
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
