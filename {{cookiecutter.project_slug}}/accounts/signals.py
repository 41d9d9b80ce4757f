"""The signal that ends open connections, and what sends it when a user is deleted."""

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import Signal, receiver

#: All tokens of a user have ended. Sent once that is committed, with `user_id` and the
#: `token_version` of those that are good from now on, None for a user who is gone.
access_revoked = Signal()


def send_access_revoked(user_id: int, token_version: int | None, using: str | None = None) -> None:
    """Send `access_revoked` when the transaction on the database `using` commits."""
    send = partial(
        access_revoked.send_robust,
        sender=get_user_model(),
        user_id=user_id,
        token_version=token_version,
    )
    transaction.on_commit(send, using=using, robust=True)


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def end_access_of_deleted_user(instance: Any, using: str, **_: Any) -> None:
    """A deleted user's tokens find no user any more; this closes what is open already."""
    send_access_revoked(instance.pk, None, using)
