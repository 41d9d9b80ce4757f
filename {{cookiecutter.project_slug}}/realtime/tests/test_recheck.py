"""Withdrawing a user's access to a stream whose socket is open."""

import json

import pytest
from channels.testing import WebsocketCommunicator

from accounts import tokens
from backend.asgi import application
from realtime import streams
from realtime.database import in_database
from realtime.hub import Hub
from realtime.models import UserStream
from realtime.notification import anotify_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def socket(user):
    """An open socket on the events of `user`."""
    token = (await in_database(tokens.issue, user)).access
    communicator = WebsocketCommunicator(application, f"/ws/realtime/?token={token}")
    await communicator.connect()
    assert json.loads(await communicator.receive_from(5))["type"] == "realtime.ready"
    yield communicator
    await communicator.disconnect()
    await Hub.current().close()


async def test_an_outsider_is_closed_and_hears_nothing_more(user, socket, monkeypatch):
    """After a recheck a socket whose user lost access gets 4403, and no later event."""
    monkeypatch.setattr(UserStream, "outsiders", lambda followers: {(user.pk, user.pk)})

    await in_database(streams.recheck, UserStream(user_id=user.pk))
    await anotify_user(user.pk, {"n": 1})

    assert await socket.receive_output(5) == {
        "type": "websocket.close",
        "code": 4403,
        "reason": None,
    }


async def test_those_who_may_stay_miss_nothing(user, socket):
    """A recheck lets the sockets of everybody else go on without a gap."""
    await in_database(streams.recheck, UserStream(user_id=user.pk))
    for n in range(3):
        await anotify_user(user.pk, {"n": n})

    assert [json.loads(await socket.receive_from(5))["n"] for _ in range(3)] == [0, 1, 2]


async def test_a_recheck_that_fails_is_repeated(user, socket, monkeypatch):
    """A database that does not answer at first delays the check, but does not drop it."""
    answers = [RuntimeError("the database restarts"), {(user.pk, user.pk)}]

    def outsiders(followers):
        match answers.pop(0):
            case RuntimeError() as error:
                raise error
            case answer:
                return answer

    monkeypatch.setattr(UserStream, "outsiders", outsiders)
    monkeypatch.setattr("realtime.hub.READ_RETRY_SECONDS", 0)

    await in_database(streams.recheck, UserStream(user_id=user.pk))

    assert (await socket.receive_output(5))["code"] == 4403


async def test_the_tick_finds_outsiders_by_itself(user, socket, monkeypatch):
    """Where the channel layer lost the word, the next tick closes the socket."""
    monkeypatch.setattr(UserStream, "outsiders", lambda followers: followers)

    await Hub.current()._tick()

    assert (await socket.receive_output(5))["code"] == 4403
