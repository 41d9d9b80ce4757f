"""The ASGI entry point: HTTP goes to Django, WebSockets through the origin check to a consumer."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

from .environment import explained
from .requests import Utf8ASGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")

# Consumers import models, so Django is set up before the routes are imported.
with explained():
    http = get_asgi_application()
http.request_class = Utf8ASGIRequest

from realtime import routing
from realtime.http import WaitingAnswers
from realtime.origin import OriginCheck
from realtime.other_servers import Closing, lifespan

application = ProtocolTypeRouter(
    {
        "http": WaitingAnswers(http),
        "websocket": OriginCheck(Closing(URLRouter(routing.urlpatterns))),
        "lifespan": lifespan,
    }
)
