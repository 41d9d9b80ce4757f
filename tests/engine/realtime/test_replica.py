"""What decides over a client is read where it was written, and not from a replica."""

import pytest
from accounts import tokens
from django.core.management import call_command
from realtime.database import in_database
from realtime.models import UserStream
from realtime.notification import anotify_user, notify_user, notify_users
from realtime.tests.sockets import Client
from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db(transaction=True)


async def test_sockets_and_the_tick(user, api, access_token, no_tick, hub, replica):
    """Who connects, what follows a position, who is there, and what the tick repairs."""
    ticket = (await in_database(api.post, "/api/realtime/ticket/")).json()["ticket"]
    await anotify_user(user.pk, {"n": 1})
    epoch = (await UserStream.objects.aget()).epoch
    clients = [
        Client(ticket=ticket),
        Client(token=access_token, since=0, epoch=epoch),
        Client(token=access_token, since=0),
    ]
    for client in clients:
        await client.ready()
    await clients[0].subscribe("realtime", since=0, epoch=str(epoch))
    await clients[0].send(type="realtime.authenticate", token=access_token)
    await hub._check_new()
    await hub._tick()
    for client in clients:
        await client.disconnect()

    assert replica == []


def test_requests(user, other_user, api, anonymous, replica):
    """Who asks, who may sign in and which tokens are good."""
    notify_users([user.pk, other_user.pk], {"n": 1})
    password = "compiler-1952"
    signed_in = anonymous.post("/api/token/", {"username": "grace", "password": password}).json()
    grace = APIClient(headers={"authorization": f"Bearer {signed_in['access']}"})
    answers = [
        anonymous.post("/api/token/refresh/", {"refresh": signed_in["refresh"]}),
        anonymous.post("/api/token/verify/", {"token": signed_in["access"]}),
        grace.get("/api/users/me/"),
        grace.patch("/api/users/me/", {"email": "hopper@example.com"}),
        grace.get("/api/streams/realtime/"),
        grace.get("/api/realtime/events/"),
        anonymous.post("/api/token/blacklist/", {"refresh": tokens.issue(other_user).refresh}),
    ]

    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert replica == []


def test_commands(user, replica):
    """What is too old, and which streams there are."""
    for n in range(3):
        notify_user(user.pk, {"n": n})
    call_command("trim_streams", entries=1)
    call_command("renew_epochs")

    assert replica == []
