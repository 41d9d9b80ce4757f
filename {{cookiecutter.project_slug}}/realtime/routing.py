"""The WebSocket paths of all apps: what their `routing.py` have as `websocket_urlpatterns`.

What comes after `/ws/` is the name of a stream as well: `/ws/chat/general/` is that of
`chat/general`.
"""

from collections.abc import Iterator
from importlib import import_module

from django.apps import apps
from django.urls import URLPattern, path, re_path
from django.utils.module_loading import module_has_submodule

from .consumers import RealtimeConsumer, UnknownPathConsumer

websocket_urlpatterns = [path("ws/realtime/", RealtimeConsumer.as_asgi())]


def _of_all_apps() -> Iterator[URLPattern]:
    for app in apps.get_app_configs():
        if app.module is not None and module_has_submodule(app.module, "routing"):
            routing = import_module(f"{app.name}.routing")
            yield from getattr(routing, "websocket_urlpatterns", ())


urlpatterns = [*_of_all_apps(), re_path(r"", UnknownPathConsumer.as_asgi())]
