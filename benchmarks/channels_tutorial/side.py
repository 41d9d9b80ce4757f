"""What `drive.py` calls in this project."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import timedelta

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.core.management import call_command
from rest_framework_simplejwt.tokens import AccessToken

layer = get_channel_layer()


def make_users(count: int) -> Iterator[tuple[int, str]]:
    """Make the tables and users; give each user's id and access token."""
    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    users.bulk_create(users.model(username=f"user{number}") for number in range(count))
    for user in users.order_by("pk"):
        token = AccessToken.for_user(user)
        token.set_exp(lifetime=timedelta(hours=10))
        yield user.pk, str(token)


def send_to_room(texts: Iterable[str]) -> None:
    """Send each text to the room, as fast as one event loop can."""

    async def send() -> None:
        for text in texts:
            await layer.group_send("chat_bench", {"type": "chat.message", "message": text})

    asyncio.run(send())


def notify(user_id: int, text: str) -> None:
    """Send a text to one user, from synchronous code."""
    async_to_sync(layer.group_send)(f"user_{user_id}", {"type": "notify", "message": text})
