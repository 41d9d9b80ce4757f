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

{% if cookiecutter.use_chat -%}
import chat.routing
{% endif -%}
import realtime.routing
from realtime.origin import OriginCheck
from realtime.other_servers import Closing, lifespan

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": OriginCheck(
            Closing(
                URLRouter(
                    [
                        *realtime.routing.websocket_urlpatterns,
{%- if cookiecutter.use_chat %}
                        *chat.routing.websocket_urlpatterns,
{%- endif %}
                        *realtime.routing.unknown_paths,
                    ]
                )
            )
        ),
        "lifespan": lifespan,
    }
)
