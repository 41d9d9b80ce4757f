"""The project's own server, with one path that sends back what it gets."""

import sys

from backend import asgi
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from realtime import server
from realtime.frames import Frame


class EchoConsumer(AsyncWebsocketConsumer):
    """Answers text the way events are sent, and everything else the usual way."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send it back."""
        direct = self.scope["extensions"]["realtime.direct"]
        if text_data is None or not direct.write_frames(Frame(text_data).wire):
            await self.send(text_data, bytes_data)


asgi.application = ProtocolTypeRouter(
    {
        "http": asgi.application,
        "websocket": URLRouter([path("ws/echo/", EchoConsumer.as_asgi())]),
    }
)
server.main(sys.argv[1:])
