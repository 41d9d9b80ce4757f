"""The sockets of a room."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from chat import membership, messages
from chat.models import Message
from realtime.database import in_database
from realtime.models import Connection, Process
from realtime.tests.sockets import PATIENCE, Client

pytestmark = pytest.mark.django_db(transaction=True)


class Member(Client):
    """A client that cares for messages, not for who is online."""

    async def receive(self):
        """Return the next frame that is not about presence."""
        while (event := await super().receive())["type"] == "chat.presence":
            pass
        return event

    async def close_code(self):
        """Return the close code that comes next."""
        while (message := await self.communicator.receive_output(PATIENCE))["type"] != (
            "websocket.close"
        ):
            assert "chat.presence" in message["text"], message
        return message["code"]


async def joined(room, token, **query):
    """Return a client whose socket on the room is open."""
    client = Member(f"/ws/chat/{room.slug}/", token=token, **query)
    await client.ready()
    return client


async def close_code(slug, token):
    """Return the code with which a new socket on a room is closed at once."""
    client = Client(f"/ws/chat/{slug}/", token=token)
    await client.connect()
    code = await client.close_code()
    await client.disconnect()
    return code


async def test_a_message_goes_to_everyone_in_the_room(room, access_token, member, other_token, hub):
    """The sender gets the message too, the same and with the same number as the others."""
    ada, grace = await joined(room, access_token), await joined(room, other_token)
    client_id = str(uuid4())

    await ada.send(type="chat.message", text="hello", client_id=client_id)

    message = await ada.receive()
    assert await grace.receive() == message
    assert (message["text"], message["sender"], message["seq"]) == ("hello", "ada", 1)
    assert (message["room"], message["client_id"]) == ("lobby", client_id)
    assert (await Message.objects.aget()).event() == message
    await ada.disconnect()
    await grace.disconnect()


async def test_a_message_over_rest_reaches_the_sockets(room, api, member, other_token, hub):
    """It does not matter on which way a message comes."""
    grace = await joined(room, other_token)

    response = await in_database(api.post, "/api/chat/rooms/lobby/messages/", {"text": "hi"})

    assert await grace.receive() == response.json()
    await grace.disconnect()


async def test_typing_is_for_the_others(room, access_token, member, other_token, hub):
    """Who types is not told of it, and nothing is stored."""
    ada, grace = await joined(room, access_token), await joined(room, other_token)

    await ada.send(type="chat.typing")
    async with asyncio.timeout(PATIENCE):
        # On Redis this process may not be subscribed yet, and what is not stored is then lost.
        while await grace.communicator.receive_nothing(timeout=0.5):
            await ada.send(type="chat.typing")

    assert await grace.receive() == {"type": "chat.typing", "room": "lobby", "user": "ada"}
    assert await ada.silent()
    assert not await Message.objects.aexists()
    await ada.disconnect()
    await grace.disconnect()


async def test_presence_is_of_members_not_of_sockets(
    room, access_token, member, other_token, other_user, hub
):
    """A room hears of a member's first socket and of the last one, in whatever process."""
    ada = Client("/ws/chat/lobby/", token=access_token)
    await ada.ready()
    grace = [await joined(room, other_token) for _ in range(2)]
    process = await Process.objects.acreate(pk=uuid4(), seen_at=timezone.now())
    elsewhere = await Connection.objects.acreate(
        pk=uuid4(), process=process, user=other_user, stream=room.group
    )

    for client in grace:
        await client.disconnect()
    async with asyncio.timeout(PATIENCE):
        while await Connection.objects.acount() > 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await in_database(messages.send, room, other_user, "from elsewhere")
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != "chat.message":
        events.append(await ada.receive())
    await Process.objects.filter(pk=process.pk).aupdate(
        seen_at=timezone.now() - timedelta(minutes=1)
    )
    hub.sessions.refresh()
    events.append(await ada.receive())

    about_grace = [event for event in events if event.get("user") == "grace"]
    assert [event["online"] for event in about_grace] == [True, False]
    assert events[-1] == about_grace[-1]
    assert about_grace[-1]["room"] == "lobby"
    assert not await Connection.objects.filter(pk=elsewhere.pk).aexists()
    await ada.disconnect()


async def test_edits_and_deletions_arrive(room, user, access_token, hub):
    """Open sockets are told what became of a message."""
    ada = await joined(room, access_token)
    await in_database(messages.send, room, user, "helo")
    await in_database(messages.edit, room, user, 1, "hello")
    await in_database(messages.delete, room, user, 1)

    events = [await ada.receive() for _ in range(3)]

    assert [event["type"] for event in events] == ["chat.message", "chat.edited", "chat.deleted"]
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert [event.get("message") for event in events] == [None, 1, 1]
    await ada.disconnect()


async def test_a_replay_has_no_gap_and_no_deleted_text(room, user, access_token, hub):
    """A client that comes back gets every number, and of a deleted message nothing but that."""
    await in_database(messages.send, room, user, "secret")
    await in_database(messages.send, room, user, "hello")
    await in_database(messages.delete, room, user, 1)

    ada = await joined(room, access_token, since=0, epoch=room.epoch)

    events = [await ada.receive() for _ in range(3)]
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert [event["text"] for event in events] == ["", "hello", ""]
    await ada.disconnect()


async def test_strangers_are_closed(room, secret_room, access_token, other_token, hub):
    """4403 for a room that one may join, 4404 for one that does not exist or is private."""
    assert await close_code(room.slug, other_token) == 4403
    assert await close_code(secret_room.slug, other_token) == 4404
    assert await close_code("nowhere", other_token) == 4404
    assert await close_code(room.slug, "nonsense") == 4401
    assert await close_code("no/such/path", access_token) == 4404


async def test_who_is_no_member_any_more_hears_nothing_more(
    room, user, access_token, member, other_token, hub
):
    """All sockets of the user on the room close with 4403 before the next message is delivered."""
    ada = await joined(room, access_token)
    grace = [await joined(room, other_token) for _ in range(2)]

    await in_database(membership.kick, room, user, "grace")
    await in_database(messages.send, room, user, "she is gone")

    assert [await client.close_code() for client in grace] == [4403, 4403]
    assert (await ada.receive())["text"] == "she is gone"
    for client in (ada, *grace):
        await client.disconnect()


async def test_the_sockets_of_a_deleted_room_are_told_that_it_is_gone(room, access_token, hub):
    """4404 rather than 4403, though nobody is a member of it any more."""
    ada = await joined(room, access_token)

    await in_database(room.delete)

    assert await ada.close_code() == 4404
    await ada.disconnect()


async def test_a_message_that_cannot_be_used_is_answered(room, access_token, hub, subtests):
    """The sender is told what is wrong, and the socket stays open."""
    ada = await joined(room, access_token)

    for event, wrong in (
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": None}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": {"a": 1}}, "text"),
        ({"text": True}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"text": "x" * 4001}, "text"),
        ({"text": "x", "client_id": 7}, "client_id"),
        ({"text": "x", "client_id": "not a uuid"}, "client_id"),
        ({"text": "x", "client_id": {"a": [1]}}, "client_id"),
    ):
        with subtests.test(event=str(event)[:30]):
            await ada.send(type="chat.message", **event)

            error = await ada.receive()
            assert (error["type"], error["code"]) == ("realtime.error", "invalid_message")
            assert wrong in error["detail"]
            assert await ada.silent()
    await ada.disconnect()


async def test_the_deletion_of_an_account_ends_its_sockets_and_no_others(
    room, access_token, other_user, member, other_token, hub
):
    """Who remains carries on; who is gone is not authenticated any more."""
    ada, grace = await joined(room, access_token), await joined(room, other_token)

    await in_database(other_user.delete)

    assert await grace.close_code() in (4401, 4403)
    assert await ada.silent()
    await ada.disconnect()
    await grace.disconnect()
