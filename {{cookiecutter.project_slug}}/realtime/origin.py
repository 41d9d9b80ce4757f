"""The origin check of WebSocket handshakes."""

from typing import Any

from channels.security.websocket import OriginValidator
from django.conf import settings


class OriginCheck(OriginValidator):
    """Refuse browsers of other sites before the handshake is accepted.

    A missing `Origin` is allowed: it is no browser, and the credential is never ambient.
    """

    def __init__(self, application: Any) -> None:
        super().__init__(application, settings.WEBSOCKET_ALLOWED_ORIGINS)

    def valid_origin(self, parsed_origin: Any) -> bool:
        """Return whether an origin (parsed, or nothing if there was no header) may connect."""
        return parsed_origin is None or self.validate_origin(parsed_origin)
