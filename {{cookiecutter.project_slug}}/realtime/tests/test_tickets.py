"""Tickets: bought over REST, good for one socket."""

from contextlib import suppress
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from rest_framework.throttling import SimpleRateThrottle

from accounts import tokens
from accounts.tokens import InvalidToken
from realtime import tickets
from realtime.models import Ticket

from .sockets import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def ticket(access_token):
    """A ticket of ada."""
    return tickets.issue(tokens.authenticate(access_token))


def test_a_ticket_is_sold_over_rest(api, user):
    """The answer has the ticket and its life; the database has only a hash of it."""
    response = api.post("/api/realtime/ticket/")

    assert response.status_code == 201
    assert response.json()["expires_in"] == 30
    ticket = response.json()["ticket"]
    row = Ticket.objects.get()
    assert ticket not in (row.digest, str(row))
    assert tickets.redeem(ticket).user == user


def test_only_a_token_buys_a_ticket(anonymous):
    """Nobody gets one without signing in."""
    assert anonymous.post("/api/realtime/ticket/").status_code == 401


def test_tickets_are_limited(api, monkeypatch):
    """One user can buy only so many in a minute, from however many addresses."""
    monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "ticket", "3/min")
    monkeypatch.setattr(SimpleRateThrottle, "timer", lambda throttle: 1_000_000.0)
    path = "/api/realtime/ticket/"

    answers = [api.post(path, REMOTE_ADDR=f"192.0.2.{number}") for number in range(4)]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert 0 < int(answers[-1]["Retry-After"]) <= 60
    assert Ticket.objects.count() == 3


async def test_a_ticket_opens_one_socket(ticket, access_token, hub):
    """It lives as long as the token that bought it; a second socket with it is refused."""
    first = Client(ticket=ticket)
    ready = await first.ready()
    expires_at = (await sync_to_async(tokens.authenticate)(access_token)).expires_at
    assert ready["expires_at"] == expires_at.isoformat().replace("+00:00", "Z")

    second = Client(ticket=ticket)
    await second.connect()

    assert await second.close_code() == 4401
    await first.disconnect()


async def test_a_ticket_counts_before_a_token(access_token, hub):
    """The first credential that is present decides, also where the next would do."""
    client = Client(ticket="unknown", token=access_token)
    await client.connect()

    assert await client.close_code() == 4401


def test_of_many_at_once_one_gets_the_ticket(at_once, ticket):
    """However many sockets present it in the same moment, in whichever process."""

    def redeem():
        with suppress(InvalidToken):
            return tickets.redeem(ticket)

    opened = at_once(*[redeem] * 4)

    assert opened.count(None) == 3


def test_an_old_ticket_is_worthless(ticket):
    """After thirty seconds it opens nothing."""
    Ticket.objects.update(created_at=timezone.now() - timedelta(seconds=31))

    with pytest.raises(InvalidToken, match="too old"):
        tickets.redeem(ticket)


@pytest.mark.parametrize("end", ["logout", "deactivation", "expiry"])
def test_a_ticket_ends_with_the_token_that_bought_it(ticket, user, end):
    """A ticket is never worth more than its token."""
    if end == "logout":
        user.revoke_access()
    elif end == "deactivation":
        type(user).objects.update(is_active=False)
    else:
        Ticket.objects.update(expires_at=timezone.now())

    with pytest.raises(InvalidToken, match="has ended"):
        tickets.redeem(ticket)


def test_old_rows_go_with_the_next_purchase(ticket, access_token):
    """The table holds a minute's tickets at most."""
    Ticket.objects.update(created_at=timezone.now() - timedelta(minutes=2))

    tickets.issue(tokens.authenticate(access_token))

    assert Ticket.objects.count() == 1
