"""Making and listing rooms over REST."""

from typing import Any

import pytest
from django.db import IntegrityError

from accounts.models import User
from chat import membership, messages
from chat.models import Member, Room

ROOMS = "/api/chat/rooms/"


def test_strangers_see_nothing(db, anonymous):
    """Without a token there are no rooms."""
    assert anonymous.get(ROOMS).status_code == 401


def test_who_makes_a_room_owns_it(api):
    """A new room has a slug from its name, and its maker as the owner."""
    response = api.post(ROOMS, {"name": "  Tea & Biscuits "})

    assert response.status_code == 201
    assert response.json() | {"created_at": ""} == {
        "slug": "tea-biscuits",
        "name": "Tea & Biscuits",
        "private": False,
        "role": "owner",
        "unread": 0,
        "created_at": "",
    }


def test_a_name_without_latin_letters_still_gives_a_slug(api, subtests):
    """A name that leaves nothing for a slug becomes a room all the same."""
    for name in ("日本語", "!!!", "---"):
        with subtests.test(name=name):
            assert api.post(ROOMS, {"name": name}).json()["slug"] == "room"
            Room.objects.all().delete()


def test_a_room_needs_a_usable_name(api, subtests):
    """A name that is missing, empty, too long or not text is an error of the client."""
    bodies: list[Any] = [{}, {"name": " "}, {"name": "x" * 81}, {"name": "a\0b"}, [], 1]
    for body in bodies:
        with subtests.test(body=body):
            assert api.post(ROOMS, body).status_code == 400


def test_a_room_is_private_or_it_is_not(api, subtests):
    """What could mean yes or no is neither."""
    for private in (0, 1, "yes", None):
        with subtests.test(private=private):
            assert api.post(ROOMS, {"name": "Lobby", "private": private}).status_code == 400


def test_all_rooms_follow_the_empty_slug(api, room):
    """Asking for what follows nothing gives the first page."""
    assert [each["slug"] for each in api.get(ROOMS, {"after": ""}).json()] == [room.slug]


def test_a_longest_name_fits(api):
    """The slug of a long name is cut, also where it needs something random."""
    slugs = [api.post(ROOMS, {"name": "x" * 80}).json()["slug"] for _ in range(2)]

    assert slugs[0] == "x" * 50
    assert slugs[1].startswith("x" * 50 + "-")


def test_rooms_of_one_name_have_slugs_of_their_own(api):
    """A second room of a name gets another slug."""
    slugs = {api.post(ROOMS, {"name": "Lobby"}).json()["slug"] for _ in range(3)}

    assert len(slugs) == 3
    assert "lobby" in slugs


def test_a_private_rooms_slug_says_nothing_about_others(api):
    """A public room gets the plain slug even if a private room of that name exists."""
    private = api.post(ROOMS, {"name": "Merger", "private": True}).json()
    public = api.post(ROOMS, {"name": "Merger"}).json()

    assert private["slug"].startswith("merger-")
    assert public["slug"] == "merger"


def test_a_slug_that_was_taken_in_between_is_replaced(user, monkeypatch):
    """A slug that loses the race for its row is made anew."""
    numbers = iter(["same", "same", "other"])
    monkeypatch.setattr(membership.secrets, "token_hex", lambda length: next(numbers))

    rooms = [membership.create_room(user, "Secrets", private=True) for _ in range(2)]

    assert [room.slug for room in rooms] == ["secrets-same", "secrets-other"]
    assert Member.objects.filter(user=user, role="owner").count() == 2


def test_rooms_made_at_once_all_exist(at_once, user):
    """Threads that make rooms of one name at the same time get one each."""
    at_once(*[lambda: membership.create_room(user, "Lobby")] * 4)

    assert Room.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_errors_that_are_no_race_are_not_repeated():
    """An owner who does not exist is an error, not an endless loop."""
    with pytest.raises(IntegrityError):
        membership.create_room(User(pk=999), "Lobby")

    assert not Room.objects.exists()


def test_the_list_has_public_rooms_and_ones_own(api, user, other_user, room):
    """Private rooms of others are left out; of public ones that are not joined the role is null."""
    membership.create_room(other_user, "Hers", private=True)
    membership.create_room(other_user, "Open")
    mine = membership.create_room(user, "Mine", private=True)

    rooms = api.get(ROOMS).json()

    assert [(room["slug"], room["role"]) for room in rooms] == [
        ("lobby", "owner"),
        (mine.slug, "owner"),
        ("open", None),
    ]


def test_the_list_can_be_paged_and_narrowed(api, other_user, room):
    """`after` and `limit` page through the rooms, `joined` leaves those of others out."""
    for name in ("alpha", "omega"):
        membership.create_room(other_user, name)

    def slugs(**query):
        return [room["slug"] for room in api.get(ROOMS, query).json()]

    assert slugs(limit=2) == ["alpha", "lobby"]
    assert slugs(limit=2, after="lobby") == ["omega"]
    assert slugs(joined="true") == ["lobby"]


def test_a_query_that_makes_no_sense_is_refused(api, subtests):
    """What cannot be read from the query is an error, not a guess."""
    for query in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"joined": "?"}):
        with subtests.test(query=query):
            assert api.get(ROOMS, query).status_code == 400


def test_unread_counts_what_follows_the_position(api, other_user, user, room, member):
    """What others say is unread until it is marked as read."""
    for text in ("one", "two", "three"):
        messages.send(room, other_user, text)

    assert api.get(ROOMS).json()[0]["unread"] == 3
    assert api.post(f"{ROOMS}lobby/read/", {"seq": 2}).status_code == 204
    assert api.get(ROOMS).json()[0]["unread"] == 1


def test_the_position_never_moves_back_or_ahead(api, room, user):
    """An older number changes nothing, one that does not exist yet counts as the last."""
    messages.send(room, user, "one")

    for seq in (99, 0):
        assert api.post(f"{ROOMS}lobby/read/", {"seq": seq}).status_code == 204

    assert room.memberships.get().read == 1
    messages.send(room, user, "two")
    assert api.get(ROOMS).json()[0]["unread"] == 0


def test_a_position_must_be_a_number(api, room, subtests):
    """What is no sequence number is refused."""
    bodies: list[Any] = [{}, {"seq": -1}, {"seq": "x"}, {"seq": 2**63}, []]
    for body in bodies:
        with subtests.test(body=body):
            assert api.post(f"{ROOMS}lobby/read/", body).status_code == 400


def test_ones_own_messages_are_not_unread(api, user, other_user, room, member):
    """Who has read everything has nothing unread after speaking; who has not, still has."""
    messages.send(room, user, "one")
    messages.send(room, other_user, "two")

    assert room.memberships.get(user=user).read == 1
    assert room.memberships.get(user=other_user).read == 0


def test_a_restored_room_is_not_unread_below_zero(api, room, user):
    """A position ahead of the room, as after a restored backup, counts as nothing unread."""
    room.memberships.update(read=7)

    assert api.get(ROOMS).json()[0]["unread"] == 0


def test_the_list_takes_one_query_however_many_rooms(
    api, user, other_user, django_assert_num_queries
):
    """Role and unread come with the rooms; the other query is the token's."""
    for number in range(5):
        room = membership.create_room(other_user, f"room {number}")
        membership.join(room, user)

    with django_assert_num_queries(2):
        assert len(api.get(ROOMS).json()) == 5
