"""Fixtures that the tests of every app share."""

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from accounts import tokens
from accounts.models import User
{%- if cookiecutter.database == "postgresql" %}
from backend import postgres


def pytest_configure() -> None:
    """Run the suite on a PostgreSQL that answers, in this process and in those of pytest-xdist."""
    postgres.use_answering_server()
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
def client_of_user(access_token: str) -> APIClient:
    """A REST client that carries `access_token`."""
    return APIClient(headers={"authorization": f"Bearer {access_token}"})
