"""What decides over a member is read where it was written, and not from a replica."""

import pytest
from chat import membership
from chat.tests.test_sockets import Member
from realtime.database import in_database

ROOMS = "/api/chat/rooms/"

pytestmark = pytest.mark.django_db(transaction=True)


def test_requests(api, other_api, other_user, replica):
    """Which rooms there are, who is in them, and what was said."""
    slug = api.post(ROOMS, {"name": "Lobby"}).json()["slug"]
    room = f"{ROOMS}{slug}/"
    answers = [
        other_api.post(f"{room}join/"),
        other_api.post(f"{room}messages/", {"text": "hello"}),
        other_api.patch(f"{room}messages/1/", {"text": "Hello"}),
        api.get(ROOMS),
        api.get(f"{room}members/"),
        api.get(f"{room}messages/"),
        api.post(f"{room}read/", {"seq": 2}),
        api.get(f"/api/streams/chat/{slug}/"),
        api.delete(f"{room}messages/1/"),
        api.post(f"{room}kick/", {"username": "grace"}),
        api.post(f"{room}invite/", {"username": "grace"}),
        api.post(f"{room}leave/"),
    ]

    assert [answer.status_code for answer in answers if answer.status_code >= 300] == []
    assert replica == []


async def test_sockets(room, user, access_token, member, other_token, no_tick, hub, replica):
    """Who may follow, who still may, and who is there."""
    grace = Member(f"/ws/chat/{room.slug}/", token=other_token)
    await grace.ready()
    ada = Member(token=access_token)
    await ada.ready()
    await ada.subscribe(f"chat/{room.slug}")
    await ada.send(type="chat.message", stream=f"chat/{room.slug}", text="hello")
    assert (await grace.receive())["text"] == "hello"
    await hub._tick()
    await in_database(membership.kick, room, user, "grace")
    assert await grace.close_code() == 4403
    for client in (ada, grace):
        await client.disconnect()

    assert replica == []
