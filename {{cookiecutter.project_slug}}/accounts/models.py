"""The user of this project."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.auth import models as auth
from django.contrib.auth.models import AbstractUser
from django.db import models, router
from django.db.models import F, Q
from django.db.models.functions import Lower

from backend.database import PrimaryManager, bounded_transaction

from .signals import send_access_revoked


class UserManager(PrimaryManager, auth.UserManager):
    """Django's own, which reads from the database that is written."""


class User(AbstractUser):
    """A person or program that signs in.

    Every token carries the `token_version` that the user had when it was issued and is worth
    nothing once the user's is another, so raising it ends all of them at once. `save` does that
    for a new password and a deactivation; `QuerySet.update` and `bulk_update` pass it by, so call
    `revoke_access` of each user after them.
    """

    token_version = models.PositiveIntegerField(default=0, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    class Meta(AbstractUser.Meta):
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                condition=~Q(email=""),
                name="accounts_user_email_unique",
                violation_error_message="A user with that email already exists.",
            ),
        ]

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save the user; a new password or a deactivation ends the user's access as well."""
        fields = None if update_fields is None else frozenset(update_fields)
        using = using or router.db_for_write(type(self), instance=self)
        with bounded_transaction(using):
            ends_access = self._ends_access(using, fields)
            super().save(
                force_insert=force_insert,
                force_update=force_update,
                using=using,
                update_fields=fields,
            )
            if ends_access:
                self.revoke_access()

    def get_session_auth_hash(self) -> str:
        """Return what a session at the admin pages must hold: it ends with the tokens."""
        return f"{super().get_session_auth_hash()}-{self.token_version}"

    def revoke_access(self) -> None:
        """End every access and refresh token and session, and on commit all open connections."""
        using = router.db_for_write(type(self), instance=self)
        users = type(self)._base_manager.using(using)
        with bounded_transaction(using):
            users.filter(pk=self.pk).update(token_version=F("token_version") + 1)
            self.token_version = users.values_list("token_version", flat=True).get(pk=self.pk)
            send_access_revoked(self.pk, self.token_version, using)

    def _ends_access(self, using: str, fields: frozenset[str] | None) -> bool:
        """Whether saving `fields` (None: all) changes the password or deactivates the user.

        Brings `token_version` up to date too, lest a copy that was read before a logout undo it.
        """
        told = {"password", "is_active", "token_version"}
        if self._state.adding or (fields is not None and not fields & told):
            return False
        users = type(self)._base_manager.using(using).select_for_update()
        stored = users.filter(pk=self.pk).values_list("password", "is_active", "token_version")
        for password, is_active, self.token_version in stored:
            if fields == {"password"} and getattr(self, "_password", None) is None:
                # A login that brings the hash up to date: Django saves it in exactly this way.
                return False
            return self.password != password or (is_active and not self.is_active)
        return False
