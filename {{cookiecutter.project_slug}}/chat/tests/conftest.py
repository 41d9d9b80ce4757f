"""Fixtures for rooms."""

import pytest
from rest_framework.test import APIClient

from accounts import tokens
from chat import membership
from realtime.tests.conftest import ada, quick_tick  # noqa: F401
from realtime.tests.sockets import opened


@pytest.fixture
def room(user):
    """A public room, owned by ada."""
    return membership.create_room(user, "Lobby")


@pytest.fixture
def secret_room(user):
    """A private room, owned by ada."""
    return membership.create_room(user, "Secrets", private=True)


@pytest.fixture
def member(room, other_user):
    """Grace, who has joined ada's room."""
    membership.join(room, other_user)
    return room.memberships.get(user=other_user)


@pytest.fixture
def other_token(other_user):
    """A valid access token of grace."""
    return tokens.issue(other_user).access


@pytest.fixture
def other_api(other_token):
    """A REST client that carries grace's token."""
    return APIClient(headers={"authorization": f"Bearer {other_token}"})


@pytest.fixture
async def grace(hub, other_token):
    """Grace's socket on `/ws/realtime/`."""
    async with opened(other_token) as client:
        yield client
