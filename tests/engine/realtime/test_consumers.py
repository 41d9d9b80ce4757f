"""The life of a socket: who may open it, what it gets, how it ends."""

import asyncio
import json

import pytest
from accounts import tokens
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from realtime.bus import EVERYONE, Revoke
from realtime.consumers import MAX_BAD_FRAMES, RealtimeConsumer, Socket, StreamConsumer
from realtime.models import UserStream
from realtime.notification import anotify_user
from realtime.tests.sockets import PATIENCE, Client

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_second_socket_replays_from_memory(user, access_token, hub):
    """A position that the tail covers needs no further query for the events."""
    first = Client(token=access_token)
    epoch = (await first.ready())["epoch"]
    for n in range(3):
        await anotify_user(user.pk, {"n": n})
        await first.receive()
    second = Client(token=access_token, since=1, epoch=epoch)

    await second.ready()

    assert [(await second.receive())["seq"] for _ in range(2)] == [2, 3]
    await first.disconnect()
    await second.disconnect()


async def test_access_that_ended_before_the_hub_could_hear(
    unreliable_layer, no_tick, user, access_token, hub, monkeypatch
):
    """The first socket of a process is looked at again once the process hears of logouts."""
    join = hub._join

    async def log_out_first(feeds):
        await type(user).objects.filter(pk=user.pk).aupdate(token_version=1)
        await join(feeds)

    monkeypatch.setattr(hub, "_join", log_out_first)
    client = Client(token=access_token)
    await client.connect()
    await client.receive()

    assert await client.close_code() == 4401


async def test_word_of_a_logout_that_comes_late(no_tick, user, access_token, hub):
    """Who has signed in again by then keeps the new socket."""
    await sync_to_async(user.revoke_access)()
    client = Client(token=(await sync_to_async(tokens.issue)(user)).access)
    await client.ready()

    message: Revoke = {
        "type": "realtime.revoke",
        "group": EVERYONE,
        "user": user.pk,
        "version": user.token_version,
    }
    hub.hear([message])

    assert await client.silent()
    await client.disconnect()


async def test_frames_after_the_end_are_ignored(access_token, hub):
    """What a client sends on a socket that is being closed changes nothing."""
    client = Client(token="bad")
    await client.connect()

    await client.send(type="realtime.ping")

    assert await client.close_code() == 4401
    assert await client.communicator.receive_nothing()


async def test_a_fault_still_cleans_up(access_token, hub, monkeypatch):
    """A handler that raises leaves no follower behind (channels does not call `disconnect`)."""

    async def fail(self, event):
        raise ZeroDivisionError

    monkeypatch.setattr(RealtimeConsumer, "receive_event", fail)
    client = Client(token=access_token)
    await client.ready()

    await client.send(type="x")
    with pytest.raises(ZeroDivisionError):
        await client.communicator.wait(PATIENCE)

    assert hub.connections == set()


async def test_a_reader_that_is_too_slow_is_closed(access_token, user, hub, settings):
    """On a server without direct writes the queue of a socket is bounded."""
    settings.REALTIME_BUFFER_BYTES = 1_000
    stopped = []

    class Stuck(Socket):
        async def send(self, text_data=None, bytes_data=None, close=False):
            if "x" in json.loads(text_data):
                stopped.append(self)
                await asyncio.sleep(3600)
            await super().send(text_data)

    client = Client(token=access_token)
    client.communicator = WebsocketCommunicator(
        Stuck.as_asgi(stream_consumer=RealtimeConsumer), f"/ws/realtime/?token={access_token}"
    )
    await client.ready()
    async with asyncio.timeout(PATIENCE):
        while not stopped or stopped[0].code is None:
            await anotify_user(user.pk, {"x": "y" * 600})

    assert stopped[0].code == 4408
    await client.disconnect()


async def test_a_long_replay_comes_in_pages(user, access_token, hub, monkeypatch):
    """A replay of several pages has every event once, in order."""
    monkeypatch.setattr("realtime.streams.PAGE_SIZE", 7)
    epoch = str((await UserStream.objects.acreate(user=user)).epoch)
    for n in range(20):
        await anotify_user(user.pk, {"n": n})
    client = Client(token=access_token, since=0, epoch=epoch)

    await client.ready()

    assert [(await client.receive())["seq"] for _ in range(20)] == list(range(1, 21))
    await client.disconnect()


async def test_a_refused_bearer_is_echoed_too(hub):
    """A browser fails a handshake whose subprotocol is not answered, and would see no code."""
    client = Client(subprotocols=["bearer"])

    assert await client.connect() == "bearer"
    assert await client.close_code() == 4401


@pytest.mark.parametrize("when", ["before", "after"])
async def test_access_that_ends_during_the_connect(
    no_tick, user, access_token, hub, monkeypatch, when
):
    """A token that was good when it was checked opens nothing once its user has logged out."""
    enter = hub.sessions.enter

    async def log_out_as_well(*args, **options):
        if when == "before":  # and said so when nobody was there to hear it
            await type(user).objects.filter(pk=user.pk).aupdate(token_version=1)
        admitted = await enter(*args, **options)
        if when == "after":
            await sync_to_async(user.revoke_access)()
        return admitted

    monkeypatch.setattr(hub.sessions, "enter", log_out_as_well)
    client = Client(token=access_token)
    await client.connect()

    assert await client.close_code() == 4401
    await client.disconnect()
    assert not hub.connections


async def test_binary_frames_are_answered(access_token, hub):
    """Frames are text."""
    client = Client(token=access_token)
    await client.ready()

    await client.communicator.send_to(bytes_data=b"\0")

    assert (await client.receive())["code"] == "not_text"
    await client.disconnect()


async def test_a_client_that_only_sends_nonsense_is_cut_off(access_token, hub):
    """Many unusable frames in a row close with 4400."""
    client = Client(token=access_token)
    await client.ready()

    for _ in range(MAX_BAD_FRAMES):
        await client.send(type="nonsense")
        await client.receive()

    assert await client.close_code() == 4400


async def test_a_frame_over_the_limit_closes_with_4413(access_token, hub, settings):
    """On a server without a limit of its own the consumer has one."""
    settings.REALTIME_MAX_FRAME_BYTES = 100
    client = Client(token=access_token)
    await client.ready()

    await client.send(type="x" * 100)

    assert await client.close_code() == 4413


async def test_the_limit_of_a_frame_counts_bytes(access_token, hub, settings):
    """As that of the project's own server does, whatever the characters."""
    settings.REALTIME_MAX_FRAME_BYTES = 100
    client = Client(token=access_token)
    await client.ready()

    await client.communicator.send_to(text_data=json.dumps({"type": "ü" * 60}, ensure_ascii=False))

    assert await client.close_code() == 4413


async def test_a_user_whose_row_is_held(user, access_token, hub, settings, held, caplog):
    """The client is told to come back, and the log has a line and no traceback."""
    settings.REALTIME_LOCK_TIMEOUT_SECONDS = 0.1
    with held(lambda: type(user).objects.select_for_update().get(pk=user.pk)):
        client = Client(token=access_token)
        await client.connect()
        assert await client.close_code() == 1011
    assert "Traceback" not in caplog.text
    assert not hub.connections
    await client.disconnect()


def test_a_consumer_that_names_no_stream_serves_no_route():
    """The start says so, and not the first client."""

    class Forgotten(StreamConsumer):
        pass

    class Batched(StreamConsumer):
        @classmethod
        def get_streams(cls, consumers):
            return []

    with pytest.raises(TypeError, match="Forgotten needs get_stream"):
        Forgotten.as_asgi()
    assert Batched.as_asgi()
