"""The admin pages of the chat."""

import pytest

from accounts.models import User
from chat import messages
from chat.models import Message, Room


@pytest.fixture
def admin(db, client):
    """A browser in which a superuser is signed in."""
    client.force_login(User.objects.create_superuser("root", "root@example.com", "root-of-all"))
    client.defaults |= {"wsgi.url_scheme": "https"}
    return client


def form(room, *members, **fields):
    """Return the form of a room as the browser would send it."""
    data = {"name": room.name, "memberships-TOTAL_FORMS": len(members)}
    data["memberships-INITIAL_FORMS"] = sum(member.pk is not None for member in members)
    for number, member in enumerate(members):
        data[f"memberships-{number}-id"] = member.pk or ""
        data[f"memberships-{number}-room"] = room.pk or ""
        data[f"memberships-{number}-user"] = member.user_id
        data[f"memberships-{number}-role"] = member.role
    return data | fields


def test_a_room_can_be_made(admin, user):
    """A room that staff makes has no owner until one is appointed."""
    assert admin.get("/admin/chat/room/add/").status_code == 200

    response = admin.post("/admin/chat/room/add/", form(Room(name="News"), slug="news"))

    assert response.status_code == 302
    assert Room.objects.get().slug == "news"


def test_a_change_leaves_the_stream_alone(admin, user, room, monkeypatch):
    """What is said while the form is being saved is not forgotten, and the slug stays."""
    members = list(room.memberships.all())
    assert admin.get(f"/admin/chat/room/{room.pk}/change/").status_code == 200
    save = Room.save

    def speak_and_save(self, **kwargs):
        messages.send(room, user, "in between")
        save(self, **kwargs)

    monkeypatch.setattr(Room, "save", speak_and_save)

    response = admin.post(
        f"/admin/chat/room/{room.pk}/change/", form(room, *members, name="Hall", slug="hall")
    )

    assert response.status_code == 302
    room.refresh_from_db()
    assert (room.name, room.slug, room.head) == ("Hall", "lobby", 1)


def test_a_moderator_is_appointed(admin, room, member):
    """Staff decides on roles."""
    member.role = "moderator"
    members = [room.memberships.get(role="owner"), member]

    response = admin.post(f"/admin/chat/room/{room.pk}/change/", form(room, *members))

    assert response.status_code == 302
    member.refresh_from_db()
    assert member.role == "moderator"


def test_a_room_is_deleted_with_all_that_was_said(admin, user, room):
    """The page counts what goes, and then it goes."""
    messages.send(room, user, "hello")
    address = f"/admin/chat/room/{room.pk}/delete/"

    page = admin.get(address)

    assert "Messages: 1" in page.text
    assert admin.post(address, {"post": "yes"}).status_code == 302
    assert not Room.objects.exists()
    assert not Message.objects.exists()


def test_messages_can_be_looked_at_only(admin, user, room):
    """There is a list and a page for each message, and no way to change one."""
    messages.send(room, user, "hello")
    message = Message.objects.get()

    assert "hello" in admin.get("/admin/chat/message/?q=lobby").text
    assert admin.get(f"/admin/chat/message/{message.pk}/change/").status_code == 200
    assert admin.post(f"/admin/chat/message/{message.pk}/change/", {}).status_code == 403
    assert admin.get("/admin/chat/room/?q=lob").status_code == 200
