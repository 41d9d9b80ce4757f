"""The room: what one client says, all hear."""

from typing import Any

from realtime.consumers import StreamConsumer
from realtime.database import in_database
from realtime.streams import append, signal

from .models import Room


class RoomConsumer(StreamConsumer):
    """Hands each message to everyone, with `bench.append` as a committed row."""

    def get_stream(self) -> Room:
        """Return the room of the path."""
        return Room.objects.get(pk=self.kwargs["pk"])

    async def receive_event(self, event: dict[str, Any]) -> None:
        """Take a client's message."""
        room = self.kwargs["pk"]
        payload = {"type": "bench.message", "message": event["message"]}
        if event["type"] == "bench.append":
            await in_database(append, Room, room, payload)
        else:
            signal(Room, room, payload)
