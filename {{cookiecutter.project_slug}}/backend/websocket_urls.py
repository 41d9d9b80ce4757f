"""The WebSocket paths of every app; what comes after `/ws/` is the name of a stream as well."""

{% if cookiecutter.use_chat -%}
import chat.routing
{% endif -%}
import realtime.routing

urlpatterns = [
    *realtime.routing.websocket_urlpatterns,
{%- if cookiecutter.use_chat %}
    *chat.routing.websocket_urlpatterns,
{%- endif %}
    *realtime.routing.unknown_paths,
]
