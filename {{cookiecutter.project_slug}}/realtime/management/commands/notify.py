"""Push an event to a user from the command line."""

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.notification import notify_user
from realtime.streams import StreamBusy


class Command(BaseCommand):
    """`manage.py notify alice '{"type": "notification", "message": "hello"}'`."""

    help = "Push an event to a user: to open sockets now, to others when they connect."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the user's name and the event."""
        parser.add_argument("username", help="who gets it")
        parser.add_argument("event", help="a JSON object")

    def handle(self, *args: Any, username: str, event: str, **options: Any) -> None:
        """Store and publish the event."""
        users = get_user_model()
        try:
            user = users._default_manager.get_by_natural_key(username)
        except users.DoesNotExist:
            raise CommandError(f"no user is called {username!r}: see /admin/ for who is") from None
        try:
            data = json.loads(event)
        except ValueError as error:
            raise CommandError(
                f"the event is not JSON ({error}): quote it for the shell, as in "
                """'{"type": "notification", "message": "hello"}'"""
            ) from None
        try:
            seq = notify_user(user.pk, data)
        except (ValueError, StreamBusy) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"event {seq} for {username} is stored and on its way")
