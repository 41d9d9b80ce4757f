"""Streams over HTTP: pages, long-poll and Server-Sent Events."""

import asyncio
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from realtime.close_codes import CloseCode
from realtime.models import Connection, UserEvent, UserStream
from realtime.notification import anotify_user, notify_user

from .sockets import PATIENCE, until
from .test_consumers import token_for
from .waiters import Waiter, events_of

pytestmark = pytest.mark.django_db(transaction=True)


async def test_events_are_sent_as_they_come(user, access_token, hub):
    """Each with its position as the id; what is not stored has none."""
    client, ready = await events_of(access_token)
    epoch = ready["data"]["epoch"]

    await anotify_user(user.pk, {"n": 1})
    await anotify_user(user.pk, {"n": 2}, durable=False)

    assert client.headers["content-type"] == "text/event-stream"
    assert client.headers["x-accel-buffering"] == "no"
    assert ready["id"] == f"{epoch}:0"
    assert await client.event() == {"id": f"{epoch}:1", "data": {"n": 1, "seq": 1}}
    assert await client.event() == {"data": {"n": 2}}
    assert await Connection.objects.acount() == 1
    await client.leave()
    await until(lambda: not Connection.objects.exists())
    assert not hub.connections


async def test_the_last_id_resumes(user, access_token, hub):
    """A client that comes back gets what it has missed, or a reset that says where it is."""
    for n in range(3):
        await anotify_user(user.pk, {"n": n})
    epoch = (await UserStream.objects.aget()).epoch

    client, _ = await events_of(access_token, last_event_id=f"{epoch}:1")
    other, _ = await events_of(access_token, last_event_id=f"{uuid4()}:1")

    assert [(await client.event())["data"]["seq"] for _ in range(2)] == [2, 3]
    reset = await other.event()
    assert (reset["id"], reset["data"]["type"]) == (f"{epoch}:3", "realtime.reset")
    await client.leave()
    await other.leave()


async def test_the_end_is_said(user, hub, access_token):
    """A logout, an expired token and one connection too many end with a close code."""
    client, _ = await events_of(access_token)

    await sync_to_async(user.revoke_access)()

    close = await client.event()
    assert (close["event"], close["data"]["code"]) == ("close", 4401)
    await user.arefresh_from_db()
    client, _ = await events_of(token_for(user, seconds=1.5))
    assert (await client.event())["data"]["code"] == 4401


async def test_a_server_that_stops_says_so(access_token, hub):
    """The client may come back to another one."""
    client, _ = await events_of(access_token)

    hub.end(CloseCode.GOING_AWAY)

    assert (await client.event())["data"]["code"] == 4412


async def test_whoever_waits_counts_as_a_socket(access_token, hub, settings):
    """One more than a user may have is refused, before anything is sent."""
    settings.REALTIME_SOCKETS_PER_USER = 1
    client, _ = await events_of(access_token)
    for headers in ({"accept": "text/event-stream"}, {}):
        other = Waiter(access_token, wait=20)
        assert await other.ask(**headers) == 429
        assert "detail" in await other.json()
    await client.leave()


async def test_a_long_poll_answers_with_what_comes(user, access_token, hub):
    """At once where there is something, else with the next event, or empty in the end."""
    client = Waiter(access_token, wait=20)
    asking = asyncio.create_task(client.ask())
    await until(lambda: Connection.objects.exists())
    await anotify_user(user.pk, {"n": 1})
    assert await asking == 200
    page = await client.json()
    assert page["events"] == [{"n": 1, "seq": 1}]
    assert (page["head"], page["reset"]) == (1, False)

    behind = Waiter(access_token, wait=20, since=0, epoch=page["epoch"])
    assert await behind.ask() == 200
    assert (await behind.json())["events"] == page["events"]

    patient = Waiter(access_token, wait=1, since=1, epoch=page["epoch"])
    assert await patient.ask() == 200
    assert await patient.json() == {**page, "events": []}
    await until(lambda: not Connection.objects.exists())


async def test_a_long_poll_from_a_position_that_is_gone(user, access_token, hub):
    """It does not wait: the position is gone, and the head is where to carry on."""
    await anotify_user(user.pk, {"n": 1})
    for since in (1, 5):
        client = Waiter(access_token, wait=20, since=since, epoch=uuid4())
        assert await client.ask() == 200
        page = await client.json()
        assert (page["reset"], page["head"], page["events"]) == (True, 1, [])


async def test_what_is_not_stored_answers_no_long_poll(user, access_token, hub):
    """It would have all who wait wake each other; it comes with the next event that is."""
    client = Waiter(access_token, wait=20)
    asking = asyncio.create_task(client.ask())
    async with asyncio.timeout(PATIENCE):
        while not any(feed.live for feed in hub.feeds.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    await anotify_user(user.pk, {"n": 1}, durable=False)
    await anotify_user(user.pk, {"n": 2})

    assert await asking == 200
    assert [event["n"] for event in (await client.json())["events"]] == [1, 2]


def test_a_page_does_not_skip_what_is_gone(api, user):
    """Behind what was deleted, or ahead of what there is, is a reset, with or without an epoch."""
    for n in range(3):
        notify_user(user.pk, {"n": n})
    UserStream.objects.update(trimmed=2)
    UserEvent.objects.filter(seq__lte=2).delete()

    for since, is_gone in ((0, False), (1, True), (2, False), (3, False), (4, True)):
        page = api.get("/api/streams/realtime/", {"since": since}).json()
        assert page["reset"] is is_gone, since
        assert [event["seq"] for event in page["events"]] == ([3] if since in (0, 2) else [])


async def test_a_head_request_does_not_wait(access_token, hub):
    """There is nothing to wait for."""
    for headers in ({}, {"accept": "text/event-stream"}):
        client = Waiter(access_token, method="HEAD", wait=20)
        assert await client.ask(**headers) == 200
        await client.body()
    assert not hub.connections


async def test_what_there_is_not(access_token, user, hub, subtests):
    """The same answers as any other request gets."""
    for path, token, status in (
        ("/api/streams/nowhere/", access_token, 404),
        ("/api/streams/realtime/x/", access_token, 404),
        (f"/api/streams/{'x' * 300}/", access_token, 404),
        ("/api/streams/realtime/", "nonsense", 401),
        ("/api/streams/realtime/", token_for(user, minutes=-1), 401),
    ):
        with subtests.test(path=path[:40], status=status):
            for headers in ({}, {"accept": "text/event-stream"}):
                client = Waiter(token, path, wait=20)
                assert await client.ask(**headers) == status
                assert "detail" in await client.json()
    assert not hub.connections


def test_without_an_event_loop_there_are_pages(api):
    """A WSGI server does not wait, and cannot send events as they come."""
    page = api.get("/api/streams/realtime/", {"wait": 20}).json()

    assert page["events"] == []
    assert page == api.get("/api/realtime/events/").json()
    assert (
        api.get("/api/streams/realtime/", headers={"accept": "text/event-stream"}).status_code
        == 406
    )


async def test_a_client_that_does_not_read_is_cut_off(user, access_token, hub, settings):
    """What it leaves unread is bounded, and the end says why."""
    settings.REALTIME_BUFFER_BYTES = 2_000
    client, _ = await events_of(access_token)
    connection = next(iter(hub.connections))
    connection._held = lambda: 10_000  # as Daphne's transport would say

    for n in range(4):
        await anotify_user(user.pk, {"n": n, "text": "x" * 900})

    while (event := await client.event()).get("event") != "close":
        pass
    assert event["data"]["code"] == 4408
