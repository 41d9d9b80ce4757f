"""`manage.py token <username>`: an access token to try things out with."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import tokens
from accounts.models import User


class Command(BaseCommand):
    """Print an access token."""

    help = "Print an access token of the user, for trying things out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the user name."""
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        """Issue the token; raises CommandError for a user who is unknown or inactive."""
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username!r}. `make superuser` makes one.")
        if not user.is_active:
            raise CommandError(f"The user {username!r} is inactive, so no token would be accepted.")
        self.stdout.write(tokens.issue(user).access)
