"""Writing to streams and reading them. The database is the truth; a hint only says "look"."""

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any, NamedTuple, TypeVar

from django.db import OperationalError, connections, models, router, transaction
from django.db.models.functions import Cast, Length

from backend.database import bounded_transaction

from .bus import AnyMessage, Hint, Recheck, Signal, publisher
from .frames import LARGEST_INTEGER, check_payload, with_seq
from .models import Entry, Stream

# PostgreSQL's lock_not_available, deadlock_detected and serialization_failure (its manual,
# appendix A).
LOCK_ERRORS = {"55P03", "40P01", "40001"}
# Rows in one statement: below every database's limit on parameters.
BATCH = 500
# A page of a stream ends at either of these; a query reads so many pages at most.
PAGE_SIZE = 200
PAGE_BYTES = 256 * 1024
RANGES = 50

T = TypeVar("T")


class StreamBusy(OperationalError):
    """Another transaction holds the stream's row for longer than the lock timeout, or has changed
    it in a way that this one cannot follow; the next try may succeed."""


class Position(NamedTuple):
    """Where a stream stands: its history's name, the last sequence number, the last deleted."""

    epoch: str
    head: int
    trimmed: int


class Request(NamedTuple):
    """A question for what a stream holds after a position, and which users may not follow it."""

    stream: Stream
    seq: int
    users: frozenset[int]


class Page(NamedTuple):
    """The answer: where the stream stands, None if it is gone; the numbers and frames' texts of
    events that follow, in order and without a gap; and the ids of users without access."""

    position: Position | None
    texts: list[tuple[int, str]]
    without_access: Collection[int]


def append(stream: type[Stream], pk: Any, payload: Mapping[str, Any], **fields: Any) -> Entry:
    """Append one event to a stream, inside the caller's transaction if there is one.

    The event is published once the transaction commits, and never if it rolls back. The row lock
    is held until then: append last, so that other writers to the stream wait briefly.

    Args:
        stream: the model of the stream.
        pk: which one.
        payload: the event, a JSON object.
        fields: values for the entry model's own fields.

    Raises:
        ValueError: the payload breaks the contract, or there is no such stream.
        StreamBusy: another transaction held the stream longer than
            `REALTIME_LOCK_TIMEOUT_SECONDS`, or waits in a circle with this one.
    """
    return append_all(stream, [pk], payload, **fields)[0]


def append_all(
    stream: type[Stream], pks: Collection[Any], payload: Mapping[str, Any], **fields: Any
) -> list[Entry]:
    """Append one event to several streams of a kind in one transaction, locked in one order.

    Arguments and errors as for `append`; gives the entries in the order of their keys.
    """
    text = check_payload(payload)
    entry = stream.entry_model()
    alias = router.db_for_write(stream)
    pks = sorted({stream.key_of(pk) for pk in pks})
    with bounded_wait(f"{stream._meta.label} {pks[:5]}", stream):
        rows = _advance(stream, pks, alias) if len(pks) == 1 else {}
        if not rows:
            # Before one of several is locked: whoever waits for another's new one holds none.
            for batch in batches(pks):
                stream.ensure(batch)
            rows = _advance(stream, pks, alias)
        if missing := set(pks) - set(rows):
            raise ValueError(f"{stream._meta.verbose_name} {sorted(missing)} has just been deleted")
        if any(row.head > LARGEST_INTEGER for row in rows.values()):
            raise ValueError(f"{stream._meta.verbose_name} {pks[:5]} has no number left")
        entries = entry._default_manager.using(alias).bulk_create(
            [entry(stream_id=pk, seq=rows[pk].head, payload=dict(payload), **fields) for pk in pks],
            batch_size=BATCH,
        )
        hints = [hint(rows[pk], with_seq(text, rows[pk].head), rows[pk].head) for pk in pks]
        # A robust callback: a failing hint must not break the caller's other callbacks.
        transaction.on_commit(partial(publisher.publish, hints), using=alias, robust=True)
    return entries


@contextmanager
def bounded_wait(name: str, model: type[models.Model]) -> Iterator[None]:
    """Run a transaction that waits for rows of others for a bounded time.

    Args:
        name: what is waited for, as the error names it.
        model: it runs on the database to which this is written.

    Raises:
        StreamBusy: another transaction held a row for longer than `REALTIME_LOCK_TIMEOUT_SECONDS`,
            or the two get in each other's way.
    """
    try:
        with bounded_transaction(router.db_for_write(model)):
            yield
    except OperationalError as error:
        if isinstance(error, StreamBusy) or not _is_lock_error(error):
            raise
        raise StreamBusy(
            f"{name} is locked by another transaction: append last in a transaction, keep it "
            "short, and use the plural for several streams"
        ) from error


def signal(
    stream: type[Stream], pk: Any, payload: Mapping[str, Any], *, exclude_user: int | None = None
) -> None:
    """Send an event to those who listen now, without storing it; it has no `seq`.

    Inside a transaction it waits for the commit. Its order relative to stored events is not
    promised.

    Args:
        stream: the model.
        pk: the key of the stream whose listeners get it; it need not exist in the database.
        payload: the event, a JSON object.
        exclude_user: the id of a user who does not get it.

    Raises:
        ValueError: the payload breaks the contract.
    """
    message: Signal = {
        "type": "realtime.signal",
        "group": stream.group_of(pk),
        "text": check_payload(payload),
        "exclude": exclude_user,
    }
    _publish_on_commit(stream, message)


def recheck(stream: Stream) -> None:
    """End the subscriptions of those who may not follow a stream any more, in every process.

    `Stream.without_access` says who they are. Inside a transaction it waits for the commit; events
    that a process hears of after this no longer reach them.
    """
    message: Recheck = {"type": "realtime.recheck", "group": stream.group}
    _publish_on_commit(type(stream), message)


def hint(stream: Stream, text: str, seq: int) -> Hint:
    """Give the channel-layer message that tells every process of one stored event."""
    return {
        "type": "realtime.hint",
        "group": stream.group,
        "epoch": str(stream.epoch),
        "seq": seq,
        "text": text,
    }


def read(requests: Sequence[Request]) -> list[Page]:
    """Read pages of many streams with a few queries: positions, then events, then access.

    In this order, whoever lost access before an event was stored is named with it, or earlier.
    """
    found = positions(request.stream for request in requests)
    ahead = [
        request
        for request in requests
        if (position := found.get(request.stream.group)) and position.head > request.seq
    ]
    texts = texts_after((request.stream, request.seq) for request in ahead)
    pairs: dict[type[Stream], set[tuple[Any, int]]] = {}
    for request in requests:
        pairs.setdefault(type(request.stream), set()).update(
            (request.stream.pk, user) for user in request.users
        )
    without_access = {model: set(model.without_access(pairs[model])) for model in pairs}
    return [
        Page(
            found.get(request.stream.group),
            texts.get((request.stream.group, request.seq), []),
            {
                user
                for user in request.users
                if (request.stream.pk, user) in without_access[type(request.stream)]
            },
        )
        for request in requests
    ]


def positions(streams: Iterable[Stream]) -> dict[str, Position]:
    """Read where many streams of any kind stand, in one query for up to 500 of them."""
    by_model: dict[type[Stream], list[Stream]] = {}
    for stream in streams:
        by_model.setdefault(type(stream), []).append(stream)
    queries = [
        # Where it was written: a replica that is behind would take a client back.
        model._default_manager.using(router.db_for_write(model))
        .filter(pk__in=[stream.pk for stream in batch])
        .order_by()
        .values_list(
            models.Value(model._meta.label_lower, models.CharField()),
            # As text: the keys of another model may be of another type.
            Cast("pk", models.TextField()),
            "epoch",
            "head",
            "trimmed",
        )
        for model, members in by_model.items()
        for batch in batches(members)
    ]
    by_label = {model._meta.label_lower: model for model in by_model}
    return {
        by_label[label].group_of(pk): Position(str(epoch), head, trimmed)
        for together in batches(queries, 10)
        for label, pk, epoch, head, trimmed in reduce(
            lambda first, other: first.union(other, all=True), together
        )
    }


Texts = list[tuple[int, str]]


def texts_after(positions: Iterable[tuple[Stream, int]]) -> dict[tuple[str, int], Texts]:
    """Read a page of what follows each position: numbers and frames' texts, in order.

    Args:
        positions: a stream and a sequence number each.

    Returns:
        The page of each position, by the stream's group and the number.
    """
    wanted: dict[type[Stream], dict[Any, set[int]]] = {}
    for stream, seq in positions:
        wanted.setdefault(type(stream), {}).setdefault(stream.pk, set()).add(seq)
    pages = {}
    for model, numbers in wanted.items():
        while numbers:
            first = [(pk, min(seqs)) for pk, seqs in numbers.items()]
            for batch in batches(first, RANGES):
                texts = _read_ranges(model, batch)
                for pk, start in batch:
                    # It serves all whom it takes further, as many are who were cut off at once.
                    last = max(texts[pk][-1][0] if texts[pk] else 0, start + 1)
                    served = {seq for seq in numbers[pk] if seq < last}
                    for seq in served:
                        pages[model.group_of(pk), seq] = [
                            item for item in texts[pk] if item[0] > seq
                        ]
                    numbers[pk] -= served
            numbers = {pk: seqs for pk, seqs in numbers.items() if seqs}
    return pages


def _read_ranges(stream: type[Stream], ranges: Sequence[tuple[Any, int]]) -> dict[Any, Texts]:
    """Read a page of each of these streams, after a sequence number each, by one query."""
    conditions = (models.Q(stream=pk, seq__gt=seq, seq__lte=seq + PAGE_SIZE) for pk, seq in ranges)
    text = Cast("payload", models.TextField())
    # Many pages wait for their clients at once, and are to take no more than a few.
    page_bytes = PAGE_BYTES // len(ranges)
    # Summed up by the database: a page of large events would be megabytes to read and throw away.
    before = models.Window(
        models.Sum(Length(text)),
        partition_by="stream",
        order_by="seq",
        frame=models.RowRange(end=-1),
    )
    rows = (
        stream.entry_model()
        ._default_manager.using(router.db_for_write(stream))
        .filter(reduce(operator.or_, conditions))
        .annotate(before=before)
        .filter(models.Q(before=None) | models.Q(before__lt=page_bytes))
        .order_by("stream", "seq")
        .values_list("stream", "seq", text)
    )
    texts: dict[Any, Texts] = {pk: [] for pk, _ in ranges}
    for pk, seq, payload in rows:
        texts[pk].append((seq, with_seq(payload, seq)))
    return texts


def _publish_on_commit(stream: type[Stream], message: AnyMessage) -> None:
    connection = transaction.get_connection(router.db_for_write(stream))
    # Asked first, since on_commit outside of a transaction would open a connection for nothing.
    if connection.in_atomic_block:
        connection.on_commit(partial(publisher.publish, [message]), robust=True)
    else:
        publisher.publish([message])


def _advance(stream: type[Stream], pks: Sequence[Any], alias: str) -> dict[Any, Stream]:
    """Lock the rows and move their heads on by one; gives the rows as they are now."""
    manager = stream._default_manager.using(alias)
    if len(pks) == 1:
        # What follows below, in one statement: Django's update gives no rows back.
        name = connections[alias].ops.quote_name
        sql = (
            f"UPDATE {name(stream._meta.db_table)} SET head = head + 1 "  # noqa: S608  # nosec B608
            f"WHERE {name(str(stream._meta.pk.column))} = %s RETURNING *"
        )
        key = stream._meta.pk.get_db_prep_value(pks[0], connections[alias])
        return {row.pk: row for row in manager.raw(sql, [key])}
    rows = {}
    for batch in batches(pks):
        # In the order of their keys, so that two callers never wait for each other.
        for row in manager.select_for_update().filter(pk__in=batch).order_by("pk"):
            row.head += 1
            rows[row.pk] = row
    for batch in batches(pks):
        manager.filter(pk__in=batch).update(head=models.F("head") + 1)
    return rows


def _is_lock_error(error: OperationalError) -> bool:
    return getattr(error.__cause__, "pgcode", None) in LOCK_ERRORS or "locked" in str(error)


def batches(items: Sequence[T], size: int = BATCH) -> Iterable[Sequence[T]]:
    """Return items in portions that one statement can take."""
    return (items[start : start + size] for start in range(0, len(items), size))
