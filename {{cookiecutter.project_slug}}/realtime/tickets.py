"""Tickets: what a client may put into a socket's address in place of its access token.

An address ends up in histories and logs. A ticket is worthless there: it opens one socket, once,
within seconds.
"""

import hashlib
import secrets
from datetime import timedelta

from django.db import router
from django.db.models import F
from django.utils import timezone

from accounts.tokens import Access, InvalidToken
from backend.database import bounded_transaction

from .models import Ticket

# Seconds for which a ticket can be used.
TICKET_SECONDS = 30
# Seconds after which its row goes: late enough that nobody can be reading it any more.
KEPT_SECONDS = 2 * TICKET_SECONDS


def issue(access: Access) -> str:
    """Return a new ticket that grants what `access` does, and delete those that have run out."""
    ticket = secrets.token_urlsafe(32)
    now = timezone.now()
    with bounded_transaction(router.db_for_write(Ticket)):
        Ticket.objects.filter(created_at__lt=now - timedelta(seconds=KEPT_SECONDS)).delete()
        Ticket.objects.create(
            digest=_digest(ticket),
            user=access.user,
            token_version=access.user.token_version,
            expires_at=access.expires_at,
            created_at=now,
        )
    return ticket


def redeem(ticket: str) -> Access:
    """Use a ticket, and return what it grants until the token that bought it expires.

    Raises:
        InvalidToken: it is unknown, was used before or is older than `TICKET_SECONDS`, or the
            token that bought it has ended.
    """
    now = timezone.now()
    stored = Ticket.objects.filter(digest=_digest(ticket))
    # One statement, so that of two sockets with the same ticket only one gets it.
    unused = stored.filter(used=False, created_at__gt=now - timedelta(seconds=TICKET_SECONDS))
    if not unused.update(used=True):
        raise InvalidToken("Ticket is unknown, used or too old")
    valid = stored.filter(
        user__is_active=True, user__token_version=F("token_version"), expires_at__gt=now
    )
    row = valid.select_related("user").first()
    if row is None:
        raise InvalidToken("The token that bought the ticket has ended")
    return Access(row.user, row.expires_at)


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
