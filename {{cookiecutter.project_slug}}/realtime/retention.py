"""Deleting old entries, and starting new histories."""

import logging
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from django.apps import apps
from django.db import models, router
from django.utils import timezone

from .models import Entry, Stream
from .streams import BATCH, StreamBusy, bounded_wait

logger = logging.getLogger(__name__)


def trim(
    stream: type[Stream], *, days: float | None, entries: int | None, batch: int
) -> tuple[int, int]:
    """Delete the entries of every stream of a kind that are too old or too many.

    Each batch is a transaction of its own that moves `trimmed` as well, so a client that is behind
    gets a reset rather than a gap, whenever it asks.

    Args:
        stream: the model of the streams.
        days: the age in days beyond which an entry goes; nothing for any age.
        entries: how many of the latest a stream keeps; nothing for any number.
        batch: how many entries one transaction deletes.

    Returns:
        How many entries were deleted, and of how many streams.
    """
    before = None if days is None else timezone.now() - timedelta(days=days)
    deleted = streams = 0
    for pk in _keys(_candidates(stream, before, entries)):
        count = 0
        try:
            while trimmed := _trim_batch(stream, pk, before, entries, batch):
                count += trimmed
        except StreamBusy as error:
            logger.warning("the next run has to go on: %s", error)
        deleted += count
        streams += bool(count)
    return deleted, streams


def renew_epochs() -> int:
    """Give every stream of the project a new history, as a restored backup needs.

    A client may have seen events that the backup does not know; with the epoch that it remembers
    it would wait for numbers that come again with other content.

    Returns:
        How many streams there are.
    """
    count = 0
    for model in stream_models():
        rows = model._default_manager.using(router.db_for_write(model))
        for pk in _keys(rows.all()):
            count += rows.filter(pk=pk).update(epoch=uuid.uuid4())
    return count


def stream_models() -> list[type[Stream]]:
    """Return every kind of stream that the installed apps define."""
    return [model for model in apps.get_models() if issubclass(model, Stream)]


def _keys(rows: models.QuerySet) -> Iterator[Any]:
    """Return the keys of rows in order; each batch is a query, since a pooler keeps no cursor."""
    rows = rows.order_by("pk").values_list("pk", flat=True)
    batch = list(rows[:BATCH])
    while batch:
        yield from batch
        batch = list(rows.filter(pk__gt=batch[-1])[:BATCH])


def _candidates(
    stream: type[Stream], before: datetime | None, entries: int | None
) -> models.QuerySet[Stream]:
    """Find the streams that may have something to delete, without looking at each entry."""
    alias = router.db_for_write(stream)
    wanted = models.Q(pk__in=[])
    if before is not None:
        old = stream.entry_model()._default_manager.using(alias).filter(created_at__lt=before)
        wanted |= models.Q(pk__in=old.order_by().values("stream").distinct())
    if entries is not None:
        wanted |= models.Q(head__gt=models.F("trimmed") + entries)
    return stream._default_manager.using(alias).filter(wanted)


def _trim_batch(
    stream: type[Stream], pk: object, before: datetime | None, entries: int | None, batch: int
) -> int:
    alias = router.db_for_write(stream)
    with bounded_wait(f"{stream._meta.label} {pk}", stream):
        row = stream._default_manager.using(alias).select_for_update().filter(pk=pk).first()
        if row is None:
            return 0  # Deleted since it was listed.
        rows = stream.entry_model()._default_manager.using(alias).filter(stream=pk)
        numbers: list[int] = []
        if before is not None:
            numbers += _old(rows, before, batch)
        if entries is not None:
            many = rows.filter(seq__lte=row.head - entries)
            numbers += many.order_by("seq").values_list("seq", flat=True)[:batch]
        if not numbers:
            return 0
        last = max(numbers)
        # Everything up to there, so that what remains has no gap.
        count, _ = rows.filter(seq__lte=last).delete()
        stream._default_manager.using(alias).filter(pk=pk).update(trimmed=last)
        return count


def _old(rows: models.QuerySet[Entry], before: datetime, batch: int) -> list[int]:
    """Return the numbers of the first entries that are too old, as far as the clock can be trusted.

    What follows a young entry is young, whatever its date; a date in the future says nothing.
    """
    dated = rows.filter(created_at__lte=timezone.now()).order_by("seq")
    dates = dated.values_list("seq", "created_at")[:batch]
    return [seq for seq, _ in takewhile(lambda entry: entry[1] < before, dates)]
