"""Saying things in rooms, and taking them back. The errors are those of the REST framework."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Case, F, PositiveBigIntegerField, When
from django.utils import timezone
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError

from accounts.models import User
from realtime import streams
from realtime.frames import check_payload

from .models import Member, Message, Room

# Characters: with every one of them escaped as a surrogate pair still within a frame of 64 KiB.
MAX_TEXT_LENGTH = 4000


def send(
    room: Room, sender: User, text: str, client_id: UUID | None = None
) -> tuple[Message, bool]:
    """Store a message and deliver it to everyone in the room.

    Args:
        room: where.
        sender: a member of the room.
        text: up to `MAX_TEXT_LENGTH` characters.
        client_id: the sender's own name for it; a repeated one stores nothing.

    Returns:
        The message, for a repeated `client_id` the first one; and whether it is new.

    Raises:
        NotFound: the room is gone.
        PermissionDenied: the sender is no member.
        ValidationError: the text cannot be stored or sent.
        StreamBusy: somebody else held the room for too long.
    """
    payload = {
        "type": "chat.message",
        "room": room.slug,
        "sender": sender.username,
        "text": text,
        "created_at": _now(),
        "client_id": None if client_id is None else str(client_id),
    }
    try:
        with streams.bounded_wait("the room", Room):
            return _append(room, sender, payload, client_id=client_id), True
    except IntegrityError:
        if client_id is None:
            raise
        return Message.objects.get(stream=room, sender=sender, client_id=client_id), False


def edit(room: Room, editor: User, seq: int, text: str) -> Message:
    """Give a message another text; its author, owners and moderators may.

    Returns:
        The message as it is now.

    Raises:
        NotFound: there is no such message, or it was deleted.
        PermissionDenied: the editor may not.
        ValidationError: the text cannot be stored or sent.
        StreamBusy: somebody else held the room for too long.
    """
    return _change(room, editor, seq, "chat.edited", {"text": text, "edited_at": _now()})


def delete(room: Room, editor: User, seq: int) -> None:
    """Take the text out of a message; who may and what is raised is as for `edit`."""
    _change(room, editor, seq, "chat.deleted", {"text": "", "deleted_at": _now()})


def mark_read(room: Room, reader: User, seq: int) -> None:
    """Move the reader's position forward to an entry of the room, never back.

    Raises:
        StreamBusy: somebody else held the position for too long.
    """
    position = min(seq, room.head)
    with streams.bounded_wait("the member", Member):
        Member.objects.filter(room=room, user=reader, read__lt=position).update(read=position)


def page(room: Room, since: int | None, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Return stored events of a room, oldest first.

    Args:
        room: which room.
        since: give those that follow this number.
        before: give those that precede this number; without both, the latest.
        limit: how many at most.
    """
    entries = Message.objects.filter(stream=room)
    if since is not None:
        return [entry.event() for entry in entries.filter(seq__gt=since).order_by("seq")[:limit]]
    if before is not None:
        entries = entries.filter(seq__lt=before)
    return [entry.event() for entry in reversed(entries.order_by("-seq")[:limit])]


def _append(room: Room, sender: User, payload: Mapping[str, Any], **fields: Any) -> Message:
    """Append inside the caller's transaction, if the sender is a member.

    Asked after the append, while it holds the room's row: a member who is being kicked is either
    out by then, or waits with us.
    """
    try:
        entry = streams.append(Room, room.pk, payload, sender=sender, **fields)
    except ValueError as error:
        if not Room.objects.filter(pk=room.pk).exists():
            raise NotFound("The room is gone.") from error
        raise ValidationError({"text": [str(error)]}) from error
    assert isinstance(entry, Message)
    # Who has read everything else has nothing unread after speaking.
    caught_up = When(read=entry.seq - 1, then=entry.seq)
    read = Case(caught_up, default=F("read"), output_field=PositiveBigIntegerField())
    if not Member.objects.filter(room=room, user=sender).update(read=read):
        raise PermissionDenied("Only members may speak in this room.")
    return entry


def _change(room: Room, editor: User, seq: int, kind: str, change: dict[str, Any]) -> Message:
    news = {"type": kind, "room": room.slug, "sender": editor.username, "message": seq, **change}
    with streams.bounded_wait("the room", Room):
        # Held from here on, so that changes come one after the other.
        Room.objects.select_for_update().filter(pk=room.pk).first()
        message = Message.objects.filter(stream=room, seq=seq, concerns=None).first()
        if message is None or "deleted_at" in message.payload:
            raise NotFound("There is no such message in this room.")
        if message.sender_id != editor.pk and not _moderates(room, editor):
            raise PermissionDenied("Only its author, owners and moderators may change a message.")
        earlier = list(Message.objects.filter(stream=room, concerns=seq))
        _append(room, editor, news, concerns=seq)
        message.payload |= change
        _check(message.payload)
        for entry in earlier:
            entry.payload["text"] = change["text"]
        Message.objects.bulk_update([message, *earlier], ["payload"], batch_size=streams.BATCH)
    return message


def _check(payload: Mapping[str, Any]) -> None:
    """Refuse what a client that reads it later could not be sent."""
    try:
        check_payload(payload)
    except ValueError as error:
        raise ValidationError({"text": [str(error)]}) from error


def _moderates(room: Room, user: User) -> bool:
    member = Member.objects.filter(room=room, user=user).first()
    return member is not None and member.moderates


def _now() -> str:
    """Return the time as it stands in frames: UTC, in milliseconds."""
    return timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
