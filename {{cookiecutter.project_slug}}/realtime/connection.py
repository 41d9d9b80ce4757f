"""A connection as feeds and the hub know it, and what sockets and HTTP share of it."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings

from .close_codes import CloseCode
from .frames import Frame

if TYPE_CHECKING:
    from .feed import Subscription

# Seconds between two looks at how much of a replay the client has read.
DRAIN_POLL_SECONDS = 0.02

# What ASGI hands to an application.
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Connection(Protocol):
    """What this process needs of a connection."""

    user_id: int
    token_version: int

    def write(self, frames: Sequence[Frame], wire: bytes) -> None:
        """Send frames now or queue them; `wire` holds the same frames, joined and encoded."""

    def end(self, code: CloseCode) -> None:
        """Close the connection soon."""

    def subscribed(self, subscription: "Subscription") -> None:
        """Tell the client that a subscription begins; its events follow."""

    def unsubscribed(self, subscription: "Subscription", code: CloseCode) -> None:
        """Tell the client that a subscription has ended, and why."""

    async def drained(self) -> None:
        """Wait until at most half of what the client may leave unread is buffered."""


class BufferedConnection(ABC):
    """A connection whose frames wait, within a bound, for a client that reads slowly.

    `code` says why it ends, None as long as it does not.
    """

    def __init__(self, direct: Any = None) -> None:
        """Begin with nothing queued.

        Args:
            direct: what knows how much the server still holds, None on other servers.
        """
        self.code: CloseCode | None = None
        self._direct = direct
        self._queue: deque[Frame] = deque()
        self._queued_bytes = 0

    def write(self, frames: Sequence[Frame], wire: bytes) -> None:
        """Queue frames; a client that leaves too many unread is cut off."""
        if self.code is not None:
            return
        waiting = self._queued_bytes + self._held() + len(wire)
        if self._queue and waiting > settings.REALTIME_BUFFER_BYTES:
            self._queue.clear()
            self.end(CloseCode.READS_TOO_SLOWLY)
            return
        self._queue.extend(frames)
        self._queued_bytes += len(wire)
        self._wake(frames)

    def end(self, code: CloseCode) -> None:
        """End with a code once everything that is queued has been sent."""
        if self.code is None:
            self.code = code
            self._wake(())

    async def drained(self) -> None:
        """Wait until at most half of what the client may leave unread is buffered."""
        await self._at_most_half(lambda: self._queued_bytes + self._held())

    async def _at_most_half(self, buffered: Callable[[], int]) -> None:
        half = settings.REALTIME_BUFFER_BYTES // 2
        # Polled: neither Twisted nor other servers tell when a client has read.
        while self.code is None and buffered() > half:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    def _held(self) -> int:
        """Return how many bytes the server holds that the client has not taken."""
        return self._direct.buffered_bytes() if self._direct is not None else 0

    @abstractmethod
    def _wake(self, frames: Sequence[Frame]) -> None:
        """Have sent what has been queued, or the end."""
