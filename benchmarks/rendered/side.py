"""What `drive.py` calls in this project."""

from collections.abc import Iterable, Iterator

from accounts.models import User
from accounts.tokens import issue
from bench.models import Room
from django.core.management import call_command
from realtime.models import UserStream
from realtime.notification import notify_user
from realtime.streams import signal


def make_users(count: int) -> Iterator[tuple[int, str]]:
    """Make the tables, rooms and users; give each user's id and access token."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    Room.objects.bulk_create(Room(pk=number) for number in range(1, 51))
    User.objects.bulk_create(
        User(username=f"user{number}", email=f"user{number}@example.com") for number in range(count)
    )
    # As for every user who has connected before.
    UserStream.ensure(User.objects.values_list("pk", flat=True))
    for user in User.objects.order_by("pk"):
        yield user.pk, issue(user).access


def send_to_room(texts: Iterable[str]) -> None:
    """Send each text to the room."""
    for text in texts:
        signal(Room, 1, {"type": "bench.message", "message": text})


def notify(user_id: int, text: str) -> None:
    """Send a text to one user, from synchronous code."""
    notify_user(user_id, {"type": "notification", "message": text}, durable=False)


def store(user_id: int, text: str) -> None:
    """Send a text to one user as an event that is stored, from synchronous code."""
    notify_user(user_id, {"type": "notification", "message": text})
