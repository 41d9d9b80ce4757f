"""The tutorial's ChatConsumer, and the same for one user, behind a JWT check."""

import json
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import AccessToken


async def authenticate(scope):
    """The active user whose access token is in the query string, or None."""
    try:
        token = AccessToken(parse_qs(scope["query_string"].decode())["token"][0])
    except (KeyError, TokenError):
        return None
    users = get_user_model().objects
    return await database_sync_to_async(users.filter(pk=token["user_id"], is_active=True).first)()


class ChatConsumer(AsyncWebsocketConsumer):
    """https://channels.readthedocs.io/en/stable/tutorial/part_3.html"""

    async def connect(self):
        self.room_group_name = f"chat_{self.scope['url_route']['kwargs']['room_name']}"
        if await authenticate(self.scope) is None:
            await self.close()
            return
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(
            self.room_group_name, {"type": "chat.message", "message": message}
        )

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


class NotificationConsumer(AsyncWebsocketConsumer):
    """One group for each user, as most projects do it."""

    async def connect(self):
        user = await authenticate(self.scope)
        if user is None:
            await self.close()
            return
        self.group_name = f"user_{user.pk}"
        await self.channel_layer.group_add(self.group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        if hasattr(self, "group_name"):
            await self.channel_layer.group_discard(self.group_name, self.channel_name)

    async def notify(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))
