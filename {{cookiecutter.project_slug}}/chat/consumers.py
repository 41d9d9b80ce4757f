"""A socket on a room."""

import json
from typing import Any

from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError

from realtime import streams
from realtime.close_codes import CloseCode
from realtime.consumers import BadFrame, Refused, StreamConsumer
from realtime.database import in_database

from . import messages
from .models import Room
from .serializers import NewMessageSerializer


class ChatConsumer(StreamConsumer):
    """`/ws/chat/<slug>/`: the messages of a room, for its members."""

    room: Room

    def get_stream(self) -> Room:
        """Give the room: 4404 if the user may not know of it, 4403 if the user is no member."""
        slug = self.scope["url_route"]["kwargs"]["slug"]
        room = Room.objects.seen_by(self.user).filter(slug=slug).first()
        if room is None:
            raise Refused(CloseCode.NO_SUCH_STREAM)
        if room.role is None:
            raise Refused(CloseCode.NOT_ALLOWED)
        self.room = room
        return room

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
