"""Withdrawing a user's access to a stream whose socket is open."""

import pytest
from asgiref.sync import sync_to_async

from realtime import streams
from realtime.models import UserStream
from realtime.notification import anotify_user

from .sockets import Client

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def without_access(monkeypatch):
    """A function that decides who may not follow a user's events from now on."""

    def decide(answer):
        monkeypatch.setattr(
            UserStream, "without_access", classmethod(lambda _, followers: answer(followers))
        )

    return decide


async def recheck(user):
    """Ask for a check of who may follow a user's events."""
    await sync_to_async(streams.recheck)(UserStream(user_id=user.pk))


async def test_who_has_lost_access_is_closed_and_hears_nothing_more(
    no_tick, ada, user, without_access
):
    """After a recheck a socket whose user lost access gets 4403, and no later event."""
    without_access(lambda followers: {(user.pk, user.pk)})

    await recheck(user)
    await anotify_user(user.pk, {"n": 1})

    assert await ada.close_code() == 4403


async def test_those_who_may_stay_miss_nothing(no_tick, ada, user):
    """A recheck lets the sockets of everybody else go on without a gap."""
    await recheck(user)
    for n in range(3):
        await anotify_user(user.pk, {"n": n})

    assert [(await ada.receive())["n"] for _ in range(3)] == [0, 1, 2]
    await ada.disconnect()


async def test_the_tick_finds_them_by_itself(quick_tick, ada, without_access):
    """Where the channel layer lost the word, the next tick closes the socket."""
    without_access(lambda followers: followers)

    assert await ada.close_code() == 4403


async def test_access_that_was_withdrawn_during_the_connect_is_noticed(
    no_tick, hub, access_token, without_access
):
    """A socket whose right was read before, and withdrawn before it was followed, is closed."""
    without_access(lambda followers: followers)
    client = Client(token=access_token)

    await client.connect()

    assert await client.close_code() == 4403
