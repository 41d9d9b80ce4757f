"""Routes the room of the tutorial and a user's own notifications."""

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from consumers import ChatConsumer, NotificationConsumer  # noqa: E402  (needs the apps)

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter(
            [
                path("ws/chat/<room_name>/", ChatConsumer.as_asgi()),
                path("ws/realtime/", NotificationConsumer.as_asgi()),
            ]
        ),
    }
)
