"""Saying things over REST, and taking them back."""

from uuid import uuid4

import pytest
from chat import messages
from chat.models import Message, Room
from django.db import IntegrityError
from realtime import streams
from realtime.retention import trim
from rest_framework.exceptions import ValidationError

MESSAGES = "/api/chat/rooms/lobby/messages/"


def test_an_integrity_error_of_another_kind_is_not_hidden(user, room, monkeypatch):
    """Without a client_id nothing can be a repetition."""

    def fail(*args: object, **kwargs: object) -> None:
        raise IntegrityError("something else")

    monkeypatch.setattr(streams, "append", fail)

    with pytest.raises(IntegrityError, match="something else"):
        messages.send(room, user, "hi")


def test_a_frame_that_would_be_too_large_is_refused(api, room, settings):
    """A project that lowers the limit of frames gets errors of the client, not of the server."""
    settings.REALTIME_MAX_FRAME_BYTES = 300

    response = api.post(MESSAGES, {"text": "x" * 300})

    assert response.status_code == 400
    assert "REALTIME_MAX_FRAME_BYTES" in response.json()["text"][0]


def test_an_edited_message_is_no_larger_than_a_frame_may_be(api, user, room, settings):
    """The news of an edit would fit, the message with its new text and time would not."""
    messages.send(room, user, "x", client_id=uuid4())
    settings.REALTIME_MAX_FRAME_BYTES = 500

    response = api.patch(f"{MESSAGES}1/", {"text": "x" * 300})

    assert response.status_code == 400
    assert "REALTIME_MAX_FRAME_BYTES" in response.json()["text"][0]
    assert [entry.payload["text"] for entry in Message.objects.all()] == ["x"]


def test_text_that_reaches_the_stream_unchecked_is_still_refused(user, room):
    """Code that calls `send` itself gets a validation error for what cannot be stored."""
    with pytest.raises(ValidationError, match="NUL"):
        messages.send(room, user, "a\0b")


def test_a_trimmed_room_has_no_gap(api, user, room):
    """Where the message is trimmed and the news of its edit stays, all that is left is in order."""
    messages.send(room, user, "one")
    messages.edit(room, user, 1, "uno")
    messages.send(room, user, "two")

    trim(Room, days=None, entries=2, batch=100)

    page = api.get(MESSAGES).json()
    assert page["trimmed"] == 1
    assert [event["seq"] for event in page["events"]] == [2, 3]
