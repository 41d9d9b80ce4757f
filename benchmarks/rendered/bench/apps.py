"""Adds the room to the routes of the rendered project."""

from django.apps import AppConfig
from django.urls import path


class BenchConfig(AppConfig):
    """A room that anyone may enter, laid into the rendered project for the benchmark."""

    name = "bench"

    def ready(self) -> None:
        """Join the routes before `backend.asgi` collects them."""
        from realtime.routing import websocket_urlpatterns

        from .consumers import RoomConsumer

        websocket_urlpatterns.append(path("ws/bench/<int:pk>/", RoomConsumer.as_asgi()))
