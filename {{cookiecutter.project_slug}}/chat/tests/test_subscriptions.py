"""Rooms on one socket with everything else: `/ws/realtime/` with subscriptions."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat import membership, messages
from chat.consumers import ChatConsumer
from realtime.consumers import Refused
from realtime.database import in_database
from realtime.models import Connection
from realtime.notification import anotify_user
from realtime.tests.sockets import Client, until
from realtime.tests.waiters import Waiter, events_of

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_message_goes_to_all_who_follow_the_room(room, member, ada, grace, access_token):
    """With the room's name to subscriptions, without it to a socket of the room's own."""
    own = Client("/ws/chat/lobby/", token=access_token)
    await own.ready()
    await ada.subscribe("chat/lobby")
    await grace.subscribe("chat/lobby")

    await ada.send(type="chat.message", text="hello", stream="chat/lobby")

    message = await heard(grace, "chat.message")
    assert message["stream"] == "chat/lobby"
    bare = {key: value for key, value in message.items() if key != "stream"}
    assert await heard(own, "chat.message") == bare
    assert await heard(ada, "chat.message") == message
    await own.disconnect()


async def heard(client, kind):
    """Return the next frame of a kind, of those that are not about presence."""
    while (event := await client.receive())["type"] != kind:
        assert event["type"] == "chat.presence", event
    return event


async def test_the_answer_to_a_bad_message_names_the_room(room, ada):
    """A client knows which of its rooms the error is about."""
    await ada.subscribe("chat/lobby")

    await ada.send(type="chat.message", text="", stream="chat/lobby")

    error = await ada.receive()
    assert (error["code"], error["stream"]) == ("invalid_message", "chat/lobby")


async def test_a_room_that_is_not_theirs_concerns_no_other(room, secret_room, user, member, grace):
    """4403 for a room that one may join, 4404 for one that does not exist or is private."""
    open_room = await in_database(membership.create_room, user, "Open")
    names = ["chat/lobby", f"chat/{open_room.slug}", f"chat/{secret_room.slug}", "chat/nowhere"]
    await grace.send(type="realtime.subscribe", streams=[{"stream": name} for name in names])

    answers = {event["stream"]: event for event in [await grace.receive() for _ in names]}

    assert answers["chat/lobby"]["type"] == "realtime.subscribed"
    assert [answers[name]["code"] for name in names[1:]] == [4403, 4404, 4404]
    assert await grace.silent()


async def test_who_is_kicked_loses_the_room_and_nothing_else(room, user, other_user, member, grace):
    """The subscription ends with 4403 before the next message; the socket goes on."""
    await grace.subscribe("chat/lobby")

    await in_database(membership.kick, room, user, "grace")
    await in_database(messages.send, room, user, "she is gone")
    await anotify_user(other_user.pk, {"n": 1})

    events = [await grace.receive() for _ in range(2)]
    ends = [event for event in events if event.get("code") == 4403]
    assert [end["stream"] for end in ends] == ["chat/lobby"]
    assert {"n": 1, "seq": 1} in events
    assert await grace.silent()


async def test_a_deleted_room_ends_its_subscriptions(room, ada):
    """4404, and the socket goes on."""
    await ada.subscribe("chat/lobby")

    await in_database(room.delete)

    assert (await ada.receive())["code"] == 4404
    assert await ada.silent()


async def test_who_is_present_is_told_and_every_change_of_it(room, member, ada, grace, hub):
    """A snapshot with the subscription, then who comes and who goes."""
    assert (await ada.subscribe("chat/lobby"))["present"] == ["ada"]
    assert (await grace.subscribe("chat/lobby"))["present"] == ["ada", "grace"]
    came = await ada.receive()
    await grace.send(type="realtime.unsubscribe", streams=["chat/lobby"])
    went = await ada.receive()

    assert (came["user"], came["online"], came["stream"]) == ("grace", True, "chat/lobby")
    assert (went["user"], went["online"]) == ("grace", False)
    await until(lambda: Connection.objects.filter(is_socket=False).count() == 1)


async def test_presence_that_nobody_told_of_is_found_by_the_tick(
    quick_tick, room, member, other_user, ada, hub
):
    """A row that another process has written without a word that arrived."""
    await ada.subscribe("chat/lobby")

    row = await Connection.objects.acreate(
        pk="5b0b1b6e-0000-4000-8000-000000000000",
        process_id=hub.sessions.process,
        user=other_user,
        stream=room.group,
    )
    assert (await ada.receive())["online"] is True
    await row.adelete()
    assert (await ada.receive())["online"] is False


def test_a_hundred_rooms_take_one_query(user, room):
    """Whoever comes back with all of them costs the database no more than for one."""
    slugs = ["lobby", *(f"nowhere-{n}" for n in range(99))]
    consumers = [ChatConsumer(user, {"slug": slug}) for slug in slugs]

    with CaptureQueriesContext(connection) as queries:
        first, *others = ChatConsumer.get_streams(consumers)

    assert len(queries) == 1
    assert first == room
    assert all(isinstance(other, Refused) for other in others)
    assert len(others) == 99


def test_members_and_who_is_online(room, api, other_api, member, anonymous, other_user, user):
    """Members see each other's roles, a page at a time; nobody else sees any."""
    page = "/api/chat/rooms/lobby/members/"
    members = api.get(page).json()

    assert [(one["user"], one["role"], one["online"]) for one in members] == [
        ("ada", "owner", False),
        ("grace", "member", False),
    ]
    assert api.get(page, {"limit": 1}).json() == members[:1]
    assert api.get(page, {"after": "ada"}).json() == members[1:]
    assert anonymous.get(page).status_code == 401
    membership.kick(room, user, "grace")
    assert other_api.get(page).status_code == 403


async def test_members_who_follow_are_online(room, api, ada):
    """A subscription counts as well as a socket of the room's own."""
    await ada.subscribe("chat/lobby")

    [owner] = (await in_database(api.get, "/api/chat/rooms/lobby/members/")).json()

    assert owner["online"] is True


async def test_a_room_over_http(room, user, member, other_token, ada, hub):
    """The same for those who cannot hold a socket: messages, presence, and the end of access."""
    await ada.subscribe("chat/lobby")
    grace, _ = await events_of(other_token, "/api/streams/chat/lobby/")
    assert (await ada.receive())["online"] is True

    await ada.send(type="chat.message", text="hello", stream="chat/lobby")
    message = await heard(ada, "chat.message")
    while (event := (await grace.event())["data"])["type"] == "chat.presence":
        pass
    await in_database(membership.kick, room, user, "grace")
    await in_database(messages.send, room, user, "she is gone")

    assert {**event, "stream": "chat/lobby"} == message
    assert (await grace.event())["data"]["code"] == 4403


async def test_strangers_over_http(room, secret_room, other_token, hub):
    """403 for a room that one may join, 404 for one that does not exist or is private."""
    for slug, status in ((room.slug, 403), (secret_room.slug, 404), ("nowhere", 404)):
        stranger = Waiter(other_token, f"/api/streams/chat/{slug}/")
        assert await stranger.ask(accept="text/event-stream") == status
        assert "detail" in await stranger.json()
