"""A room as its members follow it."""

import json
from collections.abc import Sequence
from typing import Any, Self, cast

from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError

from realtime import streams
from realtime.close_codes import CloseCode
from realtime.consumers import BadFrame, Refused, StreamConsumer
from realtime.database import in_database

from . import messages
from .models import Room
from .serializers import NewMessageSerializer


class ChatConsumer(StreamConsumer):
    """`chat/<slug>`: the messages of a room, for its members."""

    @classmethod
    def get_streams(cls, consumers: Sequence[Self]) -> list[Room | Refused]:
        """Return rooms: 4404 if the user may not know of it, 4403 if the user is no member."""
        slugs = [consumer.kwargs["slug"] for consumer in consumers]
        seen = Room.objects.seen_by(consumers[0].user).filter(slug__in=slugs)
        rooms = {room.slug: room for room in seen}
        return [_own(rooms.get(slug)) for slug in slugs]

    @property
    def room(self) -> Room:
        """The room, as this process first read it."""
        return cast(Room, self.stream)

    async def receive_event(self, event: dict[str, Any]) -> None:
        """Store a message, or pass on that the user is typing."""
        match event["type"]:
            case "chat.message":
                await self._send_message(event)
            case "chat.typing":
                payload = {
                    "type": "chat.typing",
                    "room": self.room.slug,
                    "user": self.user.username,
                }
                streams.signal(Room, self.room.pk, payload, exclude_user=self.user.pk)
            case _:
                await super().receive_event(event)

    async def _send_message(self, event: dict[str, Any]) -> None:
        message = NewMessageSerializer(data=event)
        try:
            message.is_valid(raise_exception=True)
            await in_database(messages.send, self.room, self.user, **message.validated_data)
        except ValidationError as error:
            raise BadFrame("invalid_message", json.dumps(error.detail)) from error
        except PermissionDenied:
            self.end(CloseCode.NOT_ALLOWED)
        except NotFound:
            self.end(CloseCode.NO_SUCH_STREAM)


def _own(room: Room | None) -> Room | Refused:
    if room is None:
        return Refused(CloseCode.NO_SUCH_STREAM)
    return Refused(CloseCode.NOT_ALLOWED) if room.role is None else room
