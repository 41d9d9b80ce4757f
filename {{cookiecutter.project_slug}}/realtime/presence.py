"""Who is present: which users have an open socket on a stream that tells of it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from .models import Connection, Stream

# Seconds after which a process that is not seen counts as dead; at least two of its ticks.
DEAD_SECONDS = 20

# A user's id and a stream's group.
Pairs = set[tuple[int, str]]


def living_since() -> datetime:
    """Return the time after which a process must have been seen to count as alive."""
    return timezone.now() - timedelta(seconds=max(DEAD_SECONDS, 2 * settings.REALTIME_TICK_SECONDS))


def announced(pairs: Iterable[tuple[int, str]]) -> Pairs:
    """Return those pairs of a user and a group whose stream tells of presence."""
    return {
        (user, group)
        for user, group in pairs
        if (model := _model(group)) and model.announces_presence
    }


def present(pairs: Pairs) -> Pairs:
    """Return those pairs for which there is an open socket."""
    if not pairs:
        return set()
    rows = Connection.objects.filter(
        user__in={user for user, _ in pairs},
        stream__in={group for _, group in pairs},
        process__seen_at__gt=living_since(),
    )
    return pairs & set(rows.values_list("user", "stream"))


def announce(before: Pairs, after: Pairs) -> None:
    """Tell of those who have come and gone, within the transaction that has changed the rows."""
    by_model: dict[type[Stream], list[tuple[Any, int, bool]]] = {}
    for user, group in before ^ after:
        if model := _model(group):
            key = group.split(".", 2)[2]
            by_model.setdefault(model, []).append((key, user, (user, group) in after))
    for model, changes in by_model.items():
        model.announce_presence(changes)


def _model(group: str) -> type[Stream] | None:
    """Return the stream model of a group; None where it has been removed or renamed since."""
    try:
        app_label, name, _ = group.split(".", 2)  # A key may hold a dot.
        model = apps.get_model(app_label, name)
    except (LookupError, ValueError):
        return None
    return model if issubclass(model, Stream) else None
