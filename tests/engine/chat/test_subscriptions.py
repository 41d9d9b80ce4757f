"""Subscriptions to rooms, in the moments between two others."""

import asyncio

import pytest
from accounts import tokens
from accounts.models import User
from chat import membership, messages
from chat.consumers import ChatConsumer
from django.db import OperationalError, connection
from realtime import database, frames, sessions
from realtime.database import in_database
from realtime.models import Connection
from realtime.notification import anotify_user
from realtime.streams import StreamBusy
from realtime.tests.sockets import PATIENCE, Client, until

pytestmark = pytest.mark.django_db(transaction=True)

ROOMS = 100


@pytest.fixture
def rooms(user, other_user):
    """A hundred rooms with grace in them, and two messages in each."""
    rooms = [membership.create_room(user, f"Room {number}") for number in range(ROOMS)]
    for room in rooms:
        membership.join(room, other_user)
        for text in ("one", "two"):
            messages.send(room, user, text)
    return rooms


async def frames_of(client, count):
    """Return the next frames that are not about presence."""
    events = []
    while len(events) < count:
        if (event := await client.receive())["type"] != "chat.presence":
            events.append(event)
    return events


async def test_who_is_kicked_while_subscribing_gets_nothing(
    no_tick, room, user, member, grace, monkeypatch
):
    """Access that was read before, and withdrawn before the stream was followed."""
    get_streams = ChatConsumer.get_streams.__func__

    def kick_afterwards(cls, consumers):
        found = get_streams(cls, consumers)
        membership.kick(room, user, "grace")
        messages.send(room, user, "secret")
        return found

    monkeypatch.setattr(ChatConsumer, "get_streams", classmethod(kick_afterwards))
    await grace.send(type="realtime.subscribe", streams=[{"stream": "chat/lobby"}])

    answer = await grace.receive()
    assert (answer["type"], answer["code"]) == ("realtime.unsubscribed", 4403)
    assert await grace.silent()


async def test_who_is_kicked_while_presence_is_written_gets_nothing(
    no_tick, room, user, member, grace, hub, monkeypatch
):
    """A subscription that ends before it has begun does not begin."""
    announce = hub.announce

    async def kick_meanwhile(subscriptions):
        await announce(subscriptions)
        await in_database(membership.kick, room, user, "grace")
        async with asyncio.timeout(PATIENCE):
            while any(one in one.feed.followers for one in subscriptions):
                await asyncio.sleep(0.01)

    monkeypatch.setattr(hub, "announce", kick_meanwhile)
    await grace.send(type="realtime.subscribe", streams=[{"stream": "chat/lobby"}])

    assert (await grace.receive())["code"] == 4403
    assert await grace.silent()
    assert not any(feed.followers for feed in hub.feeds.values() if "chat" in feed.stream.group)


@pytest.mark.parametrize("error", [StreamBusy("held"), OperationalError("away")])
async def test_a_database_that_is_busy_leaves_nothing_half_done(
    room, member, grace, hub, monkeypatch, error
):
    """The client is told, keeps its socket, and can try again."""

    async def fail(*args, **options):
        raise error

    def fail_at_once(*args):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(hub.sessions, "enter", fail)
        await grace.send(type="realtime.subscribe", streams=[{"stream": "chat/lobby"}])
        assert (await grace.receive())["code"] == 1011
        patched.setattr(ChatConsumer, "get_streams", classmethod(fail_at_once))
        await grace.send(type="realtime.subscribe", streams=[{"stream": "chat/lobby"}])
        assert (await grace.receive())["code"] == "busy"

    assert not any(feed.followers for feed in hub.feeds.values() if "chat" in feed.stream.group)
    assert (await grace.subscribe("chat/lobby"))["present"] == ["grace"]
    assert await Connection.objects.filter(is_socket=False).acount() == 1


async def test_a_client_that_goes_while_it_subscribes_leaves_nothing(room, member, grace, hub):
    """Neither a follower nor a row."""
    await grace.send(type="realtime.subscribe", streams=[{"stream": "chat/lobby"}])

    await grace.disconnect()

    await until(lambda: not Connection.objects.exists())
    assert not any(feed.followers for feed in hub.feeds.values())


async def test_a_hundred_rooms_at_once_take_a_handful_of_queries(
    no_tick, rooms, grace, hub, monkeypatch
):
    """One frame asks for all, and gets the events of all; the database is asked a few times."""
    asked = []

    def counted(execute, sql, *rest):
        asked.append(sql)
        return execute(sql, *rest)

    with_connections = database._with_connections

    def count(function, *args, **options):
        with connection.execute_wrapper(counted):  # of the thread that this runs on
            return with_connections(function, *args, **options)

    monkeypatch.setattr(database, "_with_connections", count)
    streams = [
        {"stream": f"chat/{room.slug}", "since": 0, "epoch": str(room.epoch)} for room in rooms
    ]
    await grace.send(type="realtime.subscribe", streams=streams)

    events = await frames_of(grace, 3 * ROOMS)

    for room in rooms:
        own = [event for event in events if event["stream"] == f"chat/{room.slug}"]
        assert [event["seq"] for event in own] == [0, 1, 2]
    assert 0 < len(asked) < 40


async def test_replays_take_turns_and_live_events_pass(
    no_tick, rooms, other_user, user, grace, hub, monkeypatch
):
    """A long replay holds up neither another one nor what is new elsewhere."""
    monkeypatch.setattr("realtime.streams.PAGE_SIZE", 5)
    long, short = rooms[:2]
    for number in range(60):
        await in_database(messages.send, long, user, f"message {number}")
    read = hub.read

    async def read_and_notify(*args):
        page = await read(*args)
        if page.texts:
            await anotify_user(other_user.pk, {"type": "live"})
        return page

    monkeypatch.setattr(hub, "read", read_and_notify)
    streams = [
        {"stream": f"chat/{room.slug}", "since": 0, "epoch": str(room.epoch)}
        for room in (long, short)
    ]
    await grace.send(type="realtime.subscribe", streams=streams)
    events = []
    while not events or events[-1].get("text") != "message 59":
        events.append(await grace.receive())

    kinds = [event.get("stream", event["type"]) for event in events if "seq" in event]
    last_of_short = max(i for i, kind in enumerate(kinds) if kind == f"chat/{short.slug}")
    assert last_of_short < len(kinds) - 20, "the short one is done long before the long one"
    assert kinds.count("live") >= 5, "live events passed between the pages"


async def test_an_event_is_encoded_twice_at_most(
    no_tick, room, user, member, other_token, hub, monkeypatch
):
    """Bare for sockets of the room's own, named for subscriptions, however many there are."""
    own = [Client("/ws/chat/lobby/", token=other_token) for _ in range(3)]
    many = [Client(token=other_token) for _ in range(3)]
    for client in (*own, *many):
        await client.ready()
    for client in many:
        await client.subscribe("chat/lobby")
    encoded = []
    make = frames.text_frame
    monkeypatch.setattr(frames, "text_frame", lambda data: encoded.append(data) or make(data))

    await in_database(messages.send, room, user, "hello")

    for client in (*own, *many):
        [event] = await frames_of(client, 1)
        assert event["text"] == "hello"
    assert len([data for data in encoded if b"hello" in data]) == 2
    for client in (*own, *many):
        await client.disconnect()


async def test_presence_after_a_storm_is_right(no_tick, rooms, user, other_user, grace, hub):
    """Many who come and go at once are told of in the end, each as it is."""
    room = rooms[0]
    begun = await grace.subscribe(f"chat/{room.slug}")
    known = set(begun["present"])
    people = await in_database(_people, room)
    clients = [Client(token=token) for token in people.values()]
    for client in clients:
        await client.ready()
    await asyncio.gather(*(client.subscribe(f"chat/{room.slug}") for client in clients))
    await asyncio.gather(*(client.disconnect() for client in clients[::2]))
    left = {"grace", *list(people)[1::2]}

    async with asyncio.timeout(PATIENCE):
        while known != left:
            event = await grace.receive()
            (known.add if event["online"] else known.discard)(event["user"])
    for client in clients[1::2]:
        await client.disconnect()


def _people(room):
    people = {}
    for number in range(8):
        person = User.objects.create_user(f"person{number}", f"person{number}@example.com")
        membership.join(room, person)
        people[person.username] = tokens.issue(person).access
    return people


async def test_who_is_kicked_while_the_row_is_written_is_not_present(
    room, user, member, grace, hub, monkeypatch
):
    """A subscription that has ended by then leaves no row behind."""
    update = sessions._update

    def kick_and_update(process, arriving, leaving):
        if any(not session.is_socket for session in arriving):
            membership.kick(room, user, "grace")
            ended.result(PATIENCE)
        return update(process, arriving, leaving)

    async def end():
        while not any("chat" in feed.stream.group for feed in hub.feeds.values()):
            await asyncio.sleep(0.01)
        [feed] = [feed for feed in hub.feeds.values() if "chat" in feed.stream.group]
        while feed.followers:
            await asyncio.sleep(0.01)

    ended = asyncio.run_coroutine_threadsafe(end(), hub.loop)
    monkeypatch.setattr(sessions, "_update", kick_and_update)
    await grace.send(type="realtime.subscribe", streams=[{"stream": "chat/lobby"}])

    assert (await grace.receive())["code"] == 4403
    assert await grace.silent(), "which is answered behind the frame that subscribes"
    await until(lambda: not Connection.objects.filter(is_socket=False).exists())
