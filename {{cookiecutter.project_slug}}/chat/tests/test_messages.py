"""Saying things over REST, and taking them back."""

import json
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from rest_framework.exceptions import NotFound, PermissionDenied

from chat import messages
from chat.messages import MAX_TEXT_LENGTH
from chat.models import Member, Message, Room

MESSAGES = "/api/chat/rooms/lobby/messages/"


def test_a_message_is_the_event_that_clients_receive(api, room):
    """The answer to a message and its row are what goes over the wire."""
    client_id = str(uuid4())

    response = api.post(MESSAGES, {"text": " hello ", "client_id": client_id})

    assert response.status_code == 201
    message = response.json()
    assert message["created_at"].endswith("Z")
    assert message == {
        "type": "chat.message",
        "room": "lobby",
        "sender": "ada",
        "text": "hello",
        "created_at": message["created_at"],
        "client_id": client_id,
        "seq": 1,
    }
    assert Message.objects.get().event() == message
    assert str(Message.objects.get()) == "1 in Lobby"


def test_a_repeated_client_id_stores_nothing(api, room):
    """Who sends a message again gets the first one, whatever the second says."""
    client_id = str(uuid4())
    first = api.post(MESSAGES, {"text": "one", "client_id": client_id})

    again = api.post(MESSAGES, {"text": "two", "client_id": client_id})

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert api.get(MESSAGES).json()["head"] == 1


def test_a_client_id_is_its_senders_own(api, other_api, room, member):
    """Two users may happen to name a message alike, and one without a name never repeats."""
    body = {"text": "hi", "client_id": str(uuid4())}

    answers = [api.post(MESSAGES, body), other_api.post(MESSAGES, body)]
    answers += [api.post(MESSAGES, {"text": "hi", "client_id": None}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201] * 4
    assert [answer.json()["seq"] for answer in answers] == [1, 2, 3, 4]


def test_one_message_sent_many_times_at_once_is_one(at_once, user, room):
    """Of requests that race with one client_id one stores, and all get its message."""
    results = at_once(*[lambda: messages.send(room, user, "hi", UUID(int=1))] * 4)

    assert sorted(is_new for _, is_new in results) == [False, False, False, True]
    assert {message.seq for message, _ in results} == {1}
    assert Room.objects.get().head == 1


def test_a_message_that_cannot_be_used_is_refused(api, room, subtests):
    """Text that is missing, empty, too long or unfit for a frame is an error of the client."""
    bodies: list[Any] = [
        {},
        [],
        {"text": ""},
        {"text": " \n"},
        {"text": None},
        {"text": 5},
        {"text": {"a": 1}},
        {"text": "a\0b"},
        {"text": "\ud800"},
        {"text": "x" * (MAX_TEXT_LENGTH + 1)},
        {"text": "x", "client_id": "7"},
        {"text": "x", "client_id": 7},
        {"text": "x", "client_id": ["7"]},
    ]
    for body in bodies:
        with subtests.test(body=str(body)[:30]):
            # Escaped, since a lone surrogate has no encoding of its own.
            response = api.post(MESSAGES, json.dumps(body), content_type="application/json")

            assert response.status_code == 400
    assert not Message.objects.exists()


def test_the_longest_text_fits_into_a_frame(api, room):
    """The limit counts characters, and even those that take the most bytes fit."""
    assert api.post(MESSAGES, {"text": "😀" * MAX_TEXT_LENGTH}).status_code == 201


def test_strangers_neither_read_nor_write(other_api, room, subtests):
    """A public room's messages are for its members."""
    for method in ("get", "post"):
        with subtests.test(method=method):
            assert getattr(other_api, method)(MESSAGES, {"text": "hi"}).status_code == 403


def test_who_was_kicked_in_between_cannot_send(room, other_user):
    """Membership is checked when the message is stored, and nothing remains of it."""
    with pytest.raises(PermissionDenied):
        messages.send(room, other_user, "hi")

    assert not Message.objects.exists()
    assert Room.objects.get().head == 0


def test_a_room_that_is_gone_takes_no_message(user, room):
    """A room that was deleted since it was read is not found."""
    gone = Room.objects.get()
    room.delete()

    with pytest.raises(NotFound):
        messages.send(gone, user, "hi")


def test_pages(api, user, room):
    """Messages are read forwards from `since`, backwards from `before`, else from the end."""
    for number in range(1, 6):
        messages.send(room, user, f"number {number}")

    def seqs(**query):
        return [event["seq"] for event in api.get(MESSAGES, query).json()["events"]]

    assert seqs() == [1, 2, 3, 4, 5]
    assert seqs(limit=2) == [4, 5]
    assert seqs(since=2) == [3, 4, 5]
    assert seqs(since=0, limit=2) == [1, 2]
    assert seqs(before=4, limit=2) == [2, 3]
    assert seqs(since=5) == seqs(before=1) == []


def test_a_page_says_where_the_room_stands(api, user, room):
    """With the epoch and a number from here a socket can carry on."""
    messages.send(room, user, "hi")

    page = api.get(MESSAGES).json()

    assert page["epoch"] == str(room.epoch)
    assert (page["head"], page["trimmed"]) == (1, 0)
    assert page["events"][0]["text"] == "hi"


def test_a_page_that_makes_no_sense_is_refused(api, room, subtests):
    """What cannot be read from the query is an error, not a guess."""
    for query in (
        {"limit": 201},
        {"limit": 0},
        {"since": -1},
        {"since": "x"},
        {"before": 2**63},
        {"since": 1, "before": 2},
    ):
        with subtests.test(query=query):
            assert api.get(MESSAGES, query).status_code == 400


def test_a_page_takes_three_queries(api, user, room, django_assert_num_queries):
    """The token's user, the room with the role, the messages: however many there are."""
    for number in range(5):
        messages.send(room, user, f"number {number}")

    with django_assert_num_queries(3):
        assert len(api.get(MESSAGES).json()["events"]) == 5


def test_an_edit_changes_the_message_and_is_an_event(api, user, room):
    """Those who come later see the new text, those who were there are told of it."""
    messages.send(room, user, "helo")

    response = api.patch(f"{MESSAGES}1/", {"text": "hello"})

    assert response.status_code == 200
    message, news = api.get(MESSAGES).json()["events"]
    assert message == response.json()
    assert (message["text"], message["seq"]) == ("hello", 1)
    assert news == {
        "type": "chat.edited",
        "room": "lobby",
        "sender": "ada",
        "message": 1,
        "text": "hello",
        "edited_at": message["edited_at"],
        "seq": 2,
    }


def test_what_was_edited_away_is_nowhere_any_more(api, user, room):
    """Earlier edits of a message get the latest text as well."""
    messages.send(room, user, "first")
    for text in ("second", "third"):
        api.patch(f"{MESSAGES}1/", {"text": text})

    assert [event["text"] for event in api.get(MESSAGES).json()["events"]] == ["third"] * 3


def test_a_deleted_message_keeps_its_number_and_loses_its_text(api, user, room):
    """There is no gap where a message was deleted, and its text is gone from edits as well."""
    messages.send(room, user, "secret")
    messages.edit(room, user, 1, "still secret")

    assert api.delete(f"{MESSAGES}1/").status_code == 204

    events = api.get(MESSAGES).json()["events"]
    assert [(event["seq"], event["type"], event["text"]) for event in events] == [
        (1, "chat.message", ""),
        (2, "chat.edited", ""),
        (3, "chat.deleted", ""),
    ]
    assert events[0]["deleted_at"] == events[2]["deleted_at"]
    assert events[2]["message"] == 1


def test_what_is_no_message_cannot_be_changed(api, user, room, subtests):
    """Deleted messages, entries about messages and unknown numbers are not found."""
    for text in ("one", "two"):
        messages.send(room, user, text)
    messages.delete(room, user, 2)

    for change, seq in product((api.patch, api.delete), (2, 3, 99, 2**80)):
        with subtests.test(change=change.__name__, seq=seq):
            assert change(f"{MESSAGES}{seq}/", {"text": "x"}).status_code == 404
    assert Room.objects.get().head == 3


def test_who_may_change_the_messages_of_others(other_api, user, other_user, room, member, subtests):
    """Moderators and owners may, plain members may not, and leave no trace."""
    for role, allowed in (
        (Member.Role.MEMBER, False),
        (Member.Role.MODERATOR, True),
        (Member.Role.OWNER, True),
    ):
        room.memberships.filter(user=other_user).update(role=role)
        for change in (other_api.patch, other_api.delete):
            with subtests.test(role=role.value, change=change.__name__):
                message, _ = messages.send(room, user, "hi")

                response = change(f"{MESSAGES}{message.seq}/", {"text": "x"})

                assert (response.status_code in (200, 204)) == allowed
                assert allowed or response.status_code == 403
                assert Room.objects.get().head == message.seq + allowed


def test_an_author_who_left_cannot_change_anything(other_api, other_user, room, member):
    """Authorship alone is not enough: one has to be in the room."""
    messages.send(room, other_user, "hi")
    member.delete()

    assert other_api.patch(f"{MESSAGES}1/", {"text": "x"}).status_code == 403
    with pytest.raises(PermissionDenied):
        messages.edit(room, other_user, 1, "x")


def test_an_edit_is_checked_like_a_message(api, user, room, subtests):
    """A message cannot become what could not have been sent."""
    for text in ("", "a\0b", "x" * (MAX_TEXT_LENGTH + 1)):
        with subtests.test(text=text):
            messages.send(room, user, "hi")

            assert api.patch(f"{MESSAGES}1/", {"text": text}).status_code == 400


def test_messages_outlive_their_senders_account(api, room, other_user, member):
    """Deleting an account leaves no gap in the rooms that its user spoke in."""
    messages.send(room, other_user, "hi")

    other_user.delete()

    assert [event["sender"] for event in api.get(MESSAGES).json()["events"]] == ["grace"]
    assert Message.objects.get().sender is None
