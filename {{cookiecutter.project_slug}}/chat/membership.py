"""Making rooms, coming and going. The errors are those of the REST framework."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils.text import slugify
from rest_framework.exceptions import APIException, NotFound, PermissionDenied

from accounts.models import User
from realtime import streams

from .models import Member, Room

Role = Member.Role


class Conflict(APIException):
    """The room is not in the state that the request needs."""

    status_code = 409
    default_code = "conflict"


def create_room(owner: User, name: str, private: bool = False) -> Room:
    """Make a room whose owner is the user, with a slug that is made from its name.

    A private room's slug always ends in something random, so that nobody learns of it from the
    slug that a room of the same name gets.
    """
    while True:
        base = slugify(name)[:50].strip("-_") or "room"
        taken = private or Room.objects.filter(slug=base).exists()
        slug = f"{base}-{secrets.token_hex(4)}" if taken else base
        try:
            with streams.bounded_wait("the database", Room):
                room = Room.objects.create(name=name, slug=slug, private=private)
                Member.objects.create(room=room, user=owner, role=Role.OWNER)
                return room
        except IntegrityError:
            # Somebody else has taken the slug in between.
            if not Room.objects.filter(slug=slug).exists():
                raise


def join(room: Room, user: User) -> None:
    """Make the user a member of a room that the user may know of.

    Raises:
        Conflict: the user is a member already.
    """
    with _changing(room) as room:
        _add(room, user)


def leave(room: Room, user: User) -> None:
    """End the user's membership; an owner's office passes on.

    Raises:
        Conflict: the user is no member.
    """
    with _changing(room):
        member = Member.objects.filter(room=room, user=user).first()
        if member is None:
            raise Conflict("You are not a member of this room.")
        member.delete()


def invite(room: Room, by: User, username: str) -> None:
    """Make another user a member; owners and moderators may.

    Raises:
        PermissionDenied: `by` may not.
        NotFound: there is no such user.
        Conflict: the user is a member already.
    """
    with _changing(room) as room:
        _moderator(room, by)
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise NotFound("There is no such user.")
        _add(room, user)


def kick(room: Room, by: User, username: str) -> None:
    """End another user's membership; moderators kick members, an owner moderators as well.

    Raises:
        PermissionDenied: `by` may not.
        NotFound: there is no such user in the room.
    """
    with _changing(room):
        moderator = _moderator(room, by)
        member = Member.objects.filter(room=room, user__username=username).first()
        if member is None:
            raise NotFound("That user is not a member of this room.")
        if member.role == Role.OWNER or (member.moderates and moderator.role != Role.OWNER):
            raise PermissionDenied("You may not kick this member.")
        member.delete()


@receiver(post_delete, sender=Member, dispatch_uid="chat.membership_ended")
def _membership_ended(instance: Member, **kwargs: Any) -> None:
    """Close the user's sockets on the room, and see to it that the room keeps an owner.

    Here rather than in `leave` and `kick`, since the admin pages and the deletion of an account end
    memberships too.
    """
    streams.recheck(Room(pk=instance.room_id))
    if instance.role == Role.OWNER:
        with streams.bounded_wait("the room", Room):
            _lock(instance.room_id)
            _appoint_owner(instance.room_id)


def _appoint_owner(room_id: int) -> None:
    """Make the longest-serving moderator the owner, or else the longest-serving member."""
    members = Member.objects.filter(room=room_id).order_by("joined_at", "pk")
    if members.filter(role=Role.OWNER).exists():
        return
    heir = members.filter(role=Role.MODERATOR).first() or members.first()
    if heir is not None:
        heir.role = Role.OWNER
        heir.save(update_fields=["role"])


@contextmanager
def _changing(room: Room) -> Iterator[Room]:
    """Hold the room's row while its members change; gives the row as it is now."""
    with streams.bounded_wait("the room", Room):
        locked = _lock(room.pk)
        if locked is None:
            raise NotFound
        yield locked


def _lock(room_id: int) -> Room | None:
    return Room.objects.select_for_update().filter(pk=room_id).first()


def _add(room: Room, user: User) -> None:
    # What was said before is there to read, but not counted as unread.
    _, added = Member.objects.get_or_create(room=room, user=user, defaults={"read": room.head})
    if not added:
        raise Conflict("This user is a member of the room already.")


def _moderator(room: Room, user: User) -> Member:
    member = Member.objects.filter(room=room, user=user).first()
    if member is None or not member.moderates:
        raise PermissionDenied("Only owners and moderators of the room may do this.")
    return member
