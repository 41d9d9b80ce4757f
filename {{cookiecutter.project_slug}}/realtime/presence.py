"""Who is present: the users who follow a stream that tells of it, in whichever process.

The rows of `realtime.sessions` say so; a message on the bus only says "look". Each process then
reads the streams that it follows and tells its subscriptions what has changed since it last looked.
The tick looks as well, so a message that is lost costs nothing but time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils import timezone

from .database import in_database
from .feed import Feed, Host
from .frames import check_payload
from .models import Connection
from .streams import batches

logger = logging.getLogger(__name__)

# Seconds after which a process that is not seen counts as dead; at least two of its ticks.
DEAD_SECONDS = 20


class Presence:
    """What the feeds of a process know of who is present."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._feeds: set[Feed] = set()
        self._looked: asyncio.Future[None] | None = None
        self._reading = asyncio.Lock()

    def look(self, feeds: Iterable[Feed]) -> Awaitable[None]:
        """Read soon who is present on those of the feeds whose streams tell of it; tell of changes.

        All that is asked for while a read is under way shares the next one. One that fails is left
        to the tick.

        Returns:
            What can be awaited, and need not be, until it is done.
        """
        telling = {feed for feed in feeds if feed.stream.tells_presence()}
        if not telling:
            return _nothing()
        self._feeds |= telling
        if self._looked is None:
            self._looked = asyncio.get_running_loop().create_future()
            self._host.spawn(self._read(self._looked))
        return asyncio.shield(self._looked)

    async def _read(self, looked: "asyncio.Future[None]") -> None:
        try:
            async with self._reading:
                feeds, self._feeds, self._looked = self._feeds, set(), None
                found = await in_database(present, {feed.stream.group for feed in feeds})
            for feed in feeds:
                _tell(feed, found.get(feed.stream.group, {}))
        except Exception as error:
            logger.warning("who is present could not be read: %r", error)
        finally:
            if not looked.done():
                looked.set_result(None)


def _nothing() -> "asyncio.Future[None]":
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def living_since() -> datetime:
    """Return the time after which a process must have been seen to count as alive."""
    return timezone.now() - timedelta(seconds=max(DEAD_SECONDS, 2 * settings.REALTIME_TICK_SECONDS))


def present(groups: Collection[str]) -> dict[str, dict[int, str]]:
    """Return the users who follow streams: their ids and names, by the stream's group."""
    name = f"user__{get_user_model().USERNAME_FIELD}"
    found: dict[str, dict[int, str]] = {}
    for batch in batches(list(groups)):
        rows = Connection.objects.filter(stream__in=batch, process__seen_at__gt=living_since())
        for group, user_id, username in rows.values_list("stream", "user", name).distinct():
            found.setdefault(group, {})[user_id] = username
    return found


def _tell(feed: Feed, now: dict[int, str]) -> None:
    """Tell the subscriptions of a feed who has come and gone since the last look."""
    if feed.in_question:
        return  # What is told now might get lost; the tick looks again.
    before, feed.present = feed.present or {}, now
    for user_id in before.keys() ^ now.keys():
        payload = feed.stream.presence_event((before | now)[user_id], user_id in now)
        if payload is None:
            continue
        feed.hear_signal(
            {
                "type": "realtime.signal",
                "group": feed.stream.group,
                "text": check_payload(payload),
                "exclude": None,
            }
        )
