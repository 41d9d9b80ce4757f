"""The chat app: rooms with members, on top of the durable streams of `realtime`."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Rooms, members and messages."""

    name = "chat"

    def ready(self) -> None:
        """Connect the receiver that follows every end of a membership."""
        from . import membership  # noqa: F401
