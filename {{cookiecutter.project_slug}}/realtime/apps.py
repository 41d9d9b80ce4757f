"""The realtime app: durable event streams over WebSockets."""

from typing import Any

from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    """Connects the end of a user's access tokens with the user's open sockets."""

    name = "realtime"
    verbose_name = "Realtime streams"

    def ready(self) -> None:
        """Close a user's sockets in every process when their access tokens end."""
        from accounts.signals import access_revoked

        from . import checks  # noqa: F401

        access_revoked.connect(_close_sockets, dispatch_uid="realtime.close_sockets")


def _close_sockets(user_id: int, token_version: int | None, **kwargs: Any) -> None:
    from .bus import EVERYONE, Revoke, publisher

    message: Revoke = {
        "type": "realtime.revoke",
        "group": EVERYONE,
        "user": user_id,
        "version": token_version,
    }
    publisher.publish([message])
