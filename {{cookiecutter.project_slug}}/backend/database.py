"""What every app asks of the database: the truth, and no wait without an end."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connections, models, router, transaction


class PrimaryManager(models.Manager):
    """Reads from the database that is written, whatever the router says of reads.

    A replica that is behind would let in who has no access any more, or take a client back.
    """

    def get_queryset(self) -> models.QuerySet:
        """Return all rows there."""
        return super().get_queryset().using(self._db or router.db_for_write(self.model))


@contextmanager
def bounded_transaction(using: str) -> Iterator[None]:
    """Run a transaction in which a wait for a lock that takes too long is an `OperationalError`.

    Set anew in each, since nothing else would get through a pooler such as PgBouncer: it refuses
    parameters of a connection's start, and no session belongs to one client. Inside another
    transaction the bound stays until the end of that. With SQLite each wait is bounded anyway.

    Args:
        using: the alias of the database.
    """
    connection = connections[using]
    with transaction.atomic(using=using):
        if connection.vendor == "postgresql":
            # Half of it: a caller may wait once in the queue for a row, and once for its holder.
            milliseconds = max(1, int(settings.REALTIME_LOCK_TIMEOUT_SECONDS * 500))
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {milliseconds}")
        yield
