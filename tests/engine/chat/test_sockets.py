"""The sockets of a room."""

import asyncio
import threading
from uuid import uuid4

import pytest
from chat import membership, messages
from chat.models import Message, Room
from chat.tests.test_sockets import Member, joined
from realtime import streams
from realtime.database import in_database
from realtime.tests.sockets import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("way", ["kick", "leave", "admin"])
async def test_who_is_no_member_any_more_hears_nothing_more(
    room, user, access_token, other_user, member, other_token, hub, way
):
    """All sockets of the user on the room close with 4403 before the next message is delivered."""
    ada = await joined(room, access_token)
    grace = [await joined(room, other_token) for _ in range(2)]

    match way:
        case "kick":
            await in_database(membership.kick, room, user, "grace")
        case "leave":
            await in_database(membership.leave, room, other_user)
        case "admin":
            await in_database(member.delete)
    await in_database(messages.send, room, user, "she is gone")

    assert [await client.close_code() for client in grace] == [4403, 4403]
    assert (await ada.receive())["text"] == "she is gone"
    for client in (ada, *grace):
        await client.disconnect()


@pytest.mark.parametrize("since", [None, 0], ids=["live", "replaying"])
async def test_who_is_kicked_while_the_socket_opens_reads_nothing(
    room, user, access_token, member, other_token, no_tick, hub, monkeypatch, since
):
    """Membership is asked for once more when the socket follows the room, known or not."""
    ada = await joined(room, access_token)
    enter = hub.sessions.enter

    async def kick_meanwhile(*args, **options):
        await in_database(membership.kick, room, user, "grace")
        await in_database(messages.send, room, user, "she is gone")
        return await enter(*args, **options)

    monkeypatch.setattr(hub.sessions, "enter", kick_meanwhile)
    position = {} if since is None else {"since": since, "epoch": room.epoch}
    grace = Member(f"/ws/chat/{room.slug}/", token=other_token, **position)
    await grace.connect()

    frames = []
    while (output := await grace.communicator.receive_output(PATIENCE))["type"] == "websocket.send":
        frames.append(output["text"])
    assert output["code"] == 4403
    assert not [text for text in frames if "she is gone" in text]
    for client in (ada, grace):
        await client.disconnect()


async def test_signals_wait_for_a_check_of_access(
    room, user, access_token, member, other_token, no_tick, hub, monkeypatch
):
    """Who was kicked hears nothing of what is not stored either, and the others all of it."""
    ada, grace = await joined(room, access_token), await joined(room, other_token)
    ask, asked, go_on = Room.without_access, threading.Event(), threading.Event()

    def slow(pairs):
        asked.set()
        assert go_on.wait(PATIENCE)
        return ask(pairs)

    monkeypatch.setattr(Room, "without_access", slow)
    await in_database(membership.kick, room, user, "grace")
    assert await asyncio.to_thread(asked.wait, PATIENCE)
    streams.signal(Room, room.pk, {"type": "secret"})
    await asyncio.sleep(0.05)
    go_on.set()

    assert await grace.close_code() == 4403
    assert (await ada.receive())["type"] == "secret"
    for client in (ada, grace):
        await client.disconnect()


async def test_a_message_of_who_was_just_kicked_closes_the_socket(
    room, member, other_token, no_tick, hub, monkeypatch
):
    """Even where no process has heard of the kick yet, nothing can be sent."""
    grace = await joined(room, other_token)
    monkeypatch.setattr("realtime.streams.publisher.publish", lambda hints: None)
    await in_database(member.delete)

    await grace.send(type="chat.message", text="hello?")

    assert await grace.close_code() == 4403
    assert not await Message.objects.aexists()
    await grace.disconnect()


async def test_a_message_to_a_deleted_room_closes_the_socket(
    room, access_token, no_tick, hub, monkeypatch
):
    """Even where no process has heard of it yet, a room that is gone is said to be so."""
    ada = await joined(room, access_token)
    monkeypatch.setattr("realtime.streams.publisher.publish", lambda hints: None)
    await in_database(room.delete)

    await ada.send(type="chat.message", text="hello?")

    assert await ada.close_code() == 4404
    await ada.disconnect()


async def test_a_message_that_is_sent_again_is_delivered_once(room, access_token, hub):
    """A repeated client_id is neither stored nor delivered a second time."""
    ada = await joined(room, access_token)
    client_id = str(uuid4())

    for _ in range(2):
        await ada.send(type="chat.message", text="hello", client_id=client_id)

    assert (await ada.receive())["seq"] == 1
    assert await ada.silent()
    await ada.disconnect()


async def test_sockets_on_other_rooms_stay_open(room, user, other_user, member, other_token, hub):
    """Being kicked from one room changes nothing in another."""
    other_room = await in_database(membership.create_room, other_user, "Hers")
    grace = await joined(other_room, other_token)

    await in_database(membership.kick, room, user, "grace")

    assert await grace.silent()
    await grace.disconnect()


async def test_an_unknown_type_is_answered(room, access_token, hub):
    """A room has no use for other frames, and says so."""
    ada = await joined(room, access_token)

    await ada.send(type="chat.dance")

    assert (await ada.receive())["code"] == "unknown_type"
    await ada.disconnect()
