"""The path of a room that anyone may enter."""

from django.urls import path

from .consumers import RoomConsumer

websocket_urlpatterns = [path("ws/bench/<int:pk>/", RoomConsumer.as_asgi())]
