"""Durable streams: an append-only log with an owner, and its entries."""

import hashlib
import re
import uuid
from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models, router

from backend.database import PrimaryManager, bounded_transaction

from .fields import PayloadField

# What every channel layer takes as a group's name.
GROUP_NAME = re.compile(r"[\w.-]{1,99}", re.ASCII)


class Stream(models.Model):
    """An append-only log. Subclass it, give it an owner, and pair it with an `Entry`.

    `head` is the sequence number of the last entry, `trimmed` the last one that has been deleted.
    `epoch` names this history: a position is worth something only within its epoch.
    """

    epoch = models.UUIDField(default=uuid.uuid4, editable=False)
    head = models.PositiveBigIntegerField(default=0, editable=False)
    trimmed = models.PositiveBigIntegerField(default=0, editable=False)

    objects = PrimaryManager()

    class Meta:
        abstract = True

    @classmethod
    def ensure(cls, pks: Collection[Any]) -> None:
        """Create the streams that do not exist yet; a subclass whose streams may be missing can.

        Raises:
            ValueError: a stream does not exist and cannot be created.
        """
        if unknown := cls._missing(pks):
            raise ValueError(f"there is no {cls._meta.verbose_name} {unknown}")

    @classmethod
    def _missing(cls, pks: Collection[Any]) -> list[Any]:
        """Give those keys of which there is no stream, in order."""
        streams = cls._default_manager.using(router.db_for_write(cls))
        return sorted(set(pks) - set(streams.filter(pk__in=pks).values_list("pk", flat=True)))

    @classmethod
    def without_access(cls, followers: Collection[tuple[Any, int]]) -> Collection[tuple[Any, int]]:
        """Return those of the followers who may not follow their stream any more.

        A subclass whose access can be withdrawn answers this, with one query for all, and calls
        `realtime.streams.recheck` where it withdraws access.

        Args:
            followers: pairs of a stream's key and a user's id.
        """
        return ()

    @classmethod
    def can_lose_access(cls) -> bool:
        """Return whether `without_access` has to be asked."""
        return cls.without_access.__func__ is not Stream.without_access.__func__  # type: ignore[attr-defined]

    def presence_event(self, username: str, online: bool) -> dict[str, Any] | None:
        """Return the event that tells followers that a user has come, or gone.

        A subclass that defines this tells of presence; the others pay nothing for it.

        Args:
            username: whose first subscription has begun, or whose last one has ended.
            online: whether there is one now.
        """
        return None

    @classmethod
    def tells_presence(cls) -> bool:
        """Return whether followers are told who else follows."""
        return cls.presence_event is not Stream.presence_event

    @classmethod
    def entry_model(cls) -> Any:
        """Give the model whose rows are the entries: an `Entry` with the foreign key `stream`."""
        return cls._meta.get_field("entries").related_model

    @property
    def group(self) -> str:
        """The channel-layer group that is told of every new entry."""
        return self.group_of(self.pk)

    @classmethod
    def group_of(cls, pk: Any) -> str:
        """Return the group of the stream with a key, without its row.

        Raises:
            ValueError: it cannot be a key of such a stream.
        """
        name = f"{cls._meta.label_lower}.{cls.key_of(pk)}"
        if GROUP_NAME.fullmatch(name):
            return name
        return f"stream.{hashlib.sha256(name.encode()).hexdigest()}"

    @classmethod
    def key_of(cls, pk: Any) -> Any:
        """Return a key as the database has it, whatever its spelling: 7 for "007".

        Raises:
            ValueError: it cannot be a key of such a stream.
        """
        field: Any = cls._meta.pk
        while field.remote_field is not None:
            field = field.target_field
        if pk is None or isinstance(pk, bool | float):
            # Python takes True for 1, and Django 1.5.
            raise ValueError(f"{pk} is no key of a {cls._meta.verbose_name}")
        try:
            return field.to_python(pk)
        except ValidationError as error:
            reason = "; ".join(error.messages)
            raise ValueError(f"no key of a {cls._meta.verbose_name}: {reason}") from None


class Entry(models.Model):
    """One event of a stream.

    A subclass adds the foreign key `stream` with the related name `entries`; the unique constraint
    serves as its index.
    """

    seq = models.PositiveBigIntegerField(editable=False)
    payload = PayloadField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    objects = PrimaryManager()

    class Meta:
        abstract = True
        ordering = ("seq",)
        constraints = [
            models.UniqueConstraint(
                fields=("stream", "seq"), name="%(app_label)s_%(class)s_position"
            ),
        ]

    def event(self) -> dict[str, Any]:
        """Give the event as a client receives it: the payload's own keys, plus `seq`."""
        return {**self.payload, "seq": self.seq}


class UserStream(Stream):
    """A user's own events: what `notify_user` writes and `/ws/realtime/` delivers."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="event_stream",
    )

    def __str__(self) -> str:
        return f"events of {self.user}"

    @classmethod
    def ensure(cls, pks: Collection[Any]) -> None:
        """Create the streams that these users do not have yet, whoever else is doing the same.

        Raises:
            ValueError: one of the users does not exist.
        """
        if not (missing := cls._missing(pks)):
            return
        alias = router.db_for_write(cls)
        users = get_user_model()._default_manager.using(alias)
        known = set(users.filter(pk__in=missing).values_list("pk", flat=True))
        if unknown := set(missing) - known:
            raise ValueError(f"no user has the id {', '.join(map(repr, sorted(unknown)))}")
        with bounded_transaction(alias):
            cls._default_manager.using(alias).bulk_create(
                [cls(user_id=pk) for pk in missing], ignore_conflicts=True
            )


class UserEvent(Entry):
    """One event of a user."""

    stream = models.ForeignKey(
        UserStream, on_delete=models.CASCADE, related_name="entries", db_index=False
    )

    def __str__(self) -> str:
        return f"event {self.seq} of user {self.stream_id}"


class Ticket(models.Model):
    """What opens one socket in place of an access token; see `realtime.tickets`."""

    # Hashed: who reads the database cannot open a socket with it.
    digest = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="realtime_tickets"
    )
    # Of the token that bought it, and when that expires.
    token_version = models.PositiveIntegerField()
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_index=True)
    used = models.BooleanField(default=False)

    objects = PrimaryManager()

    def __str__(self) -> str:
        return f"ticket of {self.user}"


class Process(models.Model):
    """A process that has open sockets, and when it last said that it lives."""

    id = models.UUIDField(primary_key=True, editable=False)
    seen_at = models.DateTimeField(db_index=True)

    objects = PrimaryManager()

    class Meta:
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return str(self.id)[:8]


class Connection(models.Model):
    """An open socket of a user, or a subscription on it to a stream that tells who is present; see
    `realtime.sessions`."""

    id = models.UUIDField(primary_key=True, editable=False)
    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="connections")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="realtime_connections"
    )
    # The group of the stream that it follows.
    stream = models.CharField(max_length=255, db_index=True)
    # Only sockets count against the limit of a user.
    is_socket = models.BooleanField(default=True)
    opened_at = models.DateTimeField(auto_now_add=True)

    objects = PrimaryManager()

    class Meta:
        verbose_name_plural = "connections: who is connected"

    def __str__(self) -> str:
        return f"{self.user} on {self.stream}"
