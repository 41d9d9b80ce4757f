"""What the REST side of the chat takes and gives."""

from typing import Any
from uuid import UUID

from rest_framework import serializers

from accounts.fields import ModelSerializer, NumberField, TextField
from realtime.serializers import LARGEST_SEQ

from .messages import MAX_TEXT_LENGTH
from .models import Member, Room


class RoomSerializer(ModelSerializer):
    """A room, as the user who asks sees it."""

    role = serializers.ChoiceField(
        Member.Role.choices,
        read_only=True,
        allow_null=True,
        help_text="Null for users who are not members.",
    )
    unread = serializers.IntegerField(
        read_only=True, min_value=0, help_text="How many entries follow the last one read."
    )

    class Meta:
        model = Room
        fields = ["slug", "name", "private", "role", "unread", "created_at"]
        read_only_fields = ["slug"]


class RoomQuerySerializer(serializers.Serializer):
    """Which rooms to give."""

    after = serializers.CharField(
        max_length=60,
        required=False,
        allow_blank=True,
        help_text="Give the rooms that follow this slug.",
    )
    joined = serializers.BooleanField(
        default=False, help_text="Give only rooms of which the user is a member."
    )
    limit = serializers.IntegerField(min_value=1, max_value=200, default=100)


class MemberSerializer(serializers.ModelSerializer):
    """A member of a room, and whether that user follows it now."""

    user = serializers.CharField(source="user.username")
    online = serializers.SerializerMethodField()

    class Meta:
        model = Member
        fields = ["user", "role", "joined_at", "online"]

    def get_online(self, member: Member) -> bool:
        """Return whether the user has a socket or a subscription on the room."""
        return member.user_id in self.context["present"]


class MemberQuerySerializer(serializers.Serializer):
    """Which members to give."""

    after = serializers.CharField(
        max_length=150,
        required=False,
        allow_blank=True,
        help_text="Give the members that follow this name.",
    )
    limit = serializers.IntegerField(min_value=1, max_value=500, default=100)


class UsernameSerializer(serializers.Serializer):
    """Another user."""

    username = TextField(max_length=150)


class ClientIdField(serializers.UUIDField):
    """A UUID in its text form; the framework would take a number for its value."""

    def to_internal_value(self, data: Any) -> UUID:
        """Refuse what is no string."""
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class TextSerializer(serializers.Serializer):
    """What a message says."""

    text = TextField(max_length=MAX_TEXT_LENGTH)

    @property
    def partial(self) -> bool:
        """Never: drf-spectacular would have the schema of a PATCH say that it may be left out."""
        return False

    @partial.setter
    def partial(self, value: bool) -> None:
        pass


class NewMessageSerializer(TextSerializer):
    """A message to be sent."""

    client_id = ClientIdField(
        required=False,
        allow_null=True,
        default=None,
        help_text="The sender's own name for it: what is sent again under it is stored only once.",
    )


class MessageSerializer(serializers.Serializer):
    """A message, as it goes over the wire."""

    type = serializers.CharField()
    room = serializers.SlugField()
    sender = serializers.CharField()
    text = serializers.CharField()
    created_at = serializers.DateTimeField()
    client_id = serializers.UUIDField(allow_null=True)
    edited_at = serializers.DateTimeField(required=False)
    seq = serializers.IntegerField(min_value=1)


class MessageQuerySerializer(serializers.Serializer):
    """Which part of a room to give: what follows `since`, or precedes `before`; else the latest."""

    since = serializers.IntegerField(min_value=0, max_value=LARGEST_SEQ, default=None)
    before = serializers.IntegerField(min_value=0, max_value=LARGEST_SEQ, default=None)
    limit = serializers.IntegerField(min_value=1, max_value=200, default=100)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a question with two answers."""
        if attrs["since"] is not None and attrs["before"] is not None:
            raise serializers.ValidationError("Ask for `since` or `before`, not for both.")
        return attrs


class ReadSerializer(serializers.Serializer):
    """How far a member has read."""

    seq = NumberField(min_value=0, max_value=LARGEST_SEQ)
