"""The WebSocket paths of this app, and what answers on all others."""

from django.urls import path, re_path

from .consumers import RealtimeConsumer, UnknownPathConsumer

websocket_urlpatterns = [path("ws/realtime/", RealtimeConsumer.as_asgi())]
unknown_paths = [re_path(r"", UnknownPathConsumer.as_asgi())]
