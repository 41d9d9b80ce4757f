"""Rooms, who is in them, and what was said there."""

from collections.abc import Collection
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, FilteredRelation, Q
from django.db.models.functions import Coalesce, Greatest

from accounts.models import User
from backend.database import PrimaryManager
from realtime.models import Entry, Stream


class RoomQuerySet(models.QuerySet["Room"]):
    """Rooms as a user sees them."""

    def seen_by(self, user: User) -> "RoomQuerySet":
        """Return the rooms that a user may know of, each with the user's `role` and `unread`.

        Those are the public rooms, and the private ones with the user as a member. For a room
        without the user `role` is None and `unread` 0.
        """
        return self.annotate(
            own=FilteredRelation("memberships", condition=Q(memberships__user=user)),
            role=F("own__role"),
            # A restored room may stand behind what the user has read.
            unread=Greatest(
                Coalesce(F("head") - F("own__read"), 0), 0, output_field=models.BigIntegerField()
            ),
        ).filter(Q(private=False) | Q(own__isnull=False))


RoomManager = PrimaryManager.from_queryset(RoomQuerySet)


class Room(Stream):
    """A chat room: a stream of messages that its members follow."""

    name = models.CharField(max_length=80)
    # In every message and address of the room, so it stays as it is.
    slug = models.SlugField(max_length=60, unique=True)
    private = models.BooleanField(
        default=False, help_text="Only members can see it, and only by invitation can others join."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[RoomManager] = RoomManager()

    # What `seen_by` adds.
    role: str | None
    unread: int

    def __str__(self) -> str:
        return self.name

    def presence_event(self, username: str, online: bool) -> dict[str, Any]:
        """Return what everyone in a room gets when somebody has come online there, or gone."""
        return {"type": "chat.presence", "room": self.slug, "user": username, "online": online}

    @classmethod
    def without_access(cls, followers: Collection[tuple[Any, int]]) -> Collection[tuple[Any, int]]:
        """Return those of the followers who are no members, or no longer, of a room that exists."""
        rooms, users = {room for room, _ in followers}, {user for _, user in followers}
        members = Member.objects.filter(room__in=rooms, user__in=users)
        outside = set(followers) - set(members.values_list("room_id", "user_id"))
        suspects = cls.objects.filter(pk__in={room for room, _ in outside})
        existing = set(suspects.values_list("pk", flat=True))
        return {(room, user) for room, user in outside if room in existing}


class Member(models.Model):
    """A user in a room, and how far the user has read."""

    class Role(models.TextChoices):
        """What a member may do there."""

        OWNER = "owner"
        MODERATOR = "moderator"
        MEMBER = "member"

    room = models.ForeignKey(
        Room, on_delete=models.CASCADE, related_name="memberships", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="chat_memberships"
    )
    role = models.CharField(max_length=9, choices=Role.choices, default=Role.MEMBER)
    # The sequence number of the last entry that the user has seen.
    read = models.PositiveBigIntegerField(default=0, editable=False)
    joined_at = models.DateTimeField(auto_now_add=True)

    objects = PrimaryManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["room", "user"], name="chat_member_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.room}"

    @property
    def moderates(self) -> bool:
        """Whether the member may change what others say, invite and kick."""
        return self.role != self.Role.MEMBER


class Message(Entry):
    """An entry of a room: a message, or the news that an earlier one was edited or deleted.

    The payload is the event exactly as clients receive it. An edited or deleted message keeps its
    number, and every entry about it the latest text, so what was taken back is nowhere any more.
    """

    stream = models.ForeignKey(
        Room, on_delete=models.CASCADE, related_name="entries", db_index=False
    )
    # Kept without its sender when the account goes: a missing row would be a gap in the stream.
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="chat_messages"
    )
    # The sender's own name for a message, under which it is stored only once.
    client_id = models.UUIDField(null=True, editable=False)
    # Of an edit or a deletion: the number of the message. No foreign key, since trimming deletes
    # the message before the news of it.
    concerns = models.PositiveBigIntegerField(null=True, editable=False)

    class Meta(Entry.Meta):
        constraints = [
            *Entry.Meta.constraints,
            models.UniqueConstraint(
                fields=["stream", "sender", "client_id"],
                condition=Q(client_id__isnull=False),
                name="chat_message_sent_once",
            ),
        ]
        indexes = [
            models.Index(
                fields=["stream", "concerns"],
                condition=Q(concerns__isnull=False),
                name="chat_message_concerns",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.seq} in {self.stream}"
