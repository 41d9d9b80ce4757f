"""The same streams over HTTP, where WebSockets do not get through: long-polls, event streams.

A view decides who may follow what, with everything that Django does for a request, and ends. Only
then the answer begins, on the event loop: a client that waits holds no thread.
"""

import asyncio
import contextlib
import json
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django.utils import timezone

from accounts.tokens import Access, InvalidToken

from .close_codes import CloseCode
from .connection import BufferedConnection, Receive, Scope, Send
from .feed import Subscription
from .frames import Frame, encode, ready_frame
from .hub import Hub, TooManySockets
from .models import Stream

logger = logging.getLogger(__name__)

# Where the view leaves what the answer goes on with: a key of the ASGI scope.
WAITING = "realtime.waiting"
EVENT_STREAM = "text/event-stream"
# What the answer is where it ends before it has begun.
STATUSES = {
    CloseCode.NOT_AUTHENTICATED: 401,
    CloseCode.NOT_ALLOWED: 403,
    CloseCode.NO_SUCH_STREAM: 404,
    CloseCode.TOO_MANY: 429,
}

REFUSAL_HEADERS = {
    401: [(b"WWW-Authenticate", b'Bearer realm="api"')],
    429: [(b"Retry-After", b"5")],
    503: [(b"Retry-After", b"1")],
}

# A sequence number and the epoch that it belongs to, if known.
Position = tuple[int, str | None]


def can_wait(request: HttpRequest) -> bool:
    """Whether the server of a request has an event loop, on which an answer may wait."""
    return hasattr(request, "scope")


def wait(request: HttpRequest, waiting: "Waiting") -> None:
    """Let an answer go on, once the view's own has been made."""
    request.scope[WAITING] = waiting  # type: ignore[attr-defined]


class Waiting(BufferedConnection):
    """A client that waits for events over HTTP."""

    #: Whether it counts as presence, where the stream tells of that.
    is_present = True

    def __init__(self, access: Access, stream: Stream, position: Position | None) -> None:
        """Wait for the events of a stream.

        Args:
            access: what the client's token grants.
            stream: its row, as it was read.
            position: from where to continue, None for what is new.
        """
        super().__init__()
        self.user_id = access.user.pk
        self.token_version = access.user.token_version
        self._access = access
        self._stream = stream
        self._position = position
        self._news = asyncio.Event()

    def subscribed(self, subscription: Subscription) -> None:
        """Tell the client that the stream begins, if it is told."""

    def unsubscribed(self, subscription: Subscription, code: CloseCode) -> None:
        """End with the only subscription."""
        self.end(code)

    def _wake(self, frames: Sequence[Frame]) -> None:
        self._news.set()

    async def answer(self, headers: list[tuple[bytes, bytes]], scope: Scope, send: Send) -> None:
        """Follow the stream until the answer is complete, or the client has gone."""
        self._direct = scope.get("extensions", {}).get("realtime.direct")
        hub = Hub.current()
        subscription: Subscription | None = None
        loop = asyncio.get_running_loop()
        left = (self._access.expires_at - timezone.now()).total_seconds()
        expiry = loop.call_later(max(0.0, left), self.end, CloseCode.NOT_AUTHENTICATED)
        try:
            try:
                subscription = await hub.join(self, self._stream, is_present=self.is_present)
            except InvalidToken:
                self.end(CloseCode.NOT_AUTHENTICATED)
            except TooManySockets:
                self.end(CloseCode.TOO_MANY)
            except (InterfaceError, OperationalError) as error:
                logger.warning("an answer that waits could not begin: %r", error)
                await _refuse(send, headers, 503, "The database is busy or does not answer.")
                return
            if subscription is None:
                await self._refuse(headers, send)
                return
            await hub.presence.look([subscription.feed])
            if self._position is not None:
                since, epoch = self._position
                subscription.ask(since, subscription.epoch if epoch is None else epoch)
            await self._go_on(subscription, headers, send)
        finally:
            expiry.cancel()
            if subscription is not None:
                subscription.stop()
            hub.leave(self)

    async def _refuse(self, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        assert self.code is not None
        await _refuse(send, headers, STATUSES.get(self.code, 503), self.code.reason)

    @abstractmethod
    async def _go_on(
        self, subscription: Subscription, headers: list[tuple[bytes, bytes]], send: Send
    ) -> None:
        """Answer with what the subscription brings."""

    async def _wait(self, seconds: float) -> None:
        """Wait until there is something to send, or so many seconds have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def _take(self) -> list[Frame]:
        """Return the frames that are queued."""
        if self.code is None:
            self._news.clear()
        frames = list(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        return frames


class LongPoll(Waiting):
    """An answer with what comes next, or with nothing after a while."""

    def __init__(self, *arguments: Any, seconds: float) -> None:
        super().__init__(*arguments)
        self._seconds = seconds

    # One that comes and goes all the time is no presence, which would wake all others each time.
    is_present = False

    def _wake(self, frames: Sequence[Frame]) -> None:
        # What is not stored is no reason to answer, but comes with the next.
        if self.code is not None or any(_moves(frame) for frame in frames):
            self._news.set()

    async def _go_on(
        self, subscription: Subscription, headers: list[tuple[bytes, bytes]], send: Send
    ) -> None:
        subscription.start()
        await self._wait(self._seconds)
        events = [json.loads(frame.text) for frame in self._take()]
        if self.code is not None and not events:
            await self._refuse(headers, send)
            return
        resets = [n for n, event in enumerate(events) if event.get("type") == "realtime.reset"]
        page = {
            "epoch": subscription.feed.epoch,
            "head": events[resets[-1]]["seq"] if resets else subscription.feed.last,
            "trimmed": self._stream.trimmed,
            "reset": bool(resets),
            # What comes before a reset is of another history.
            "events": events[resets[-1] + 1 :] if resets else events,
        }
        await _start(send, 200, headers, b"application/json")
        await _body(send, encode(page), last=True)


class EventStream(Waiting):
    """Server-Sent Events, until the token expires or the client goes."""

    def subscribed(self, subscription: Subscription) -> None:
        """Queue the frame from which the stream begins."""
        frame = ready_frame(subscription.epoch, subscription.seq, self._access.expires_at)
        self.write([frame], frame.wire)

    async def _go_on(
        self, subscription: Subscription, headers: list[tuple[bytes, bytes]], send: Send
    ) -> None:
        await _start(send, 200, headers, EVENT_STREAM.encode())
        epoch = subscription.epoch
        subscription.start()
        while True:
            # After so many seconds of silence a comment line shows that the connection lives.
            await self._wait(settings.REALTIME_PING_SECONDS)
            frames = self._take()
            lines = []
            for frame in frames:
                seq = frame.seq
                if seq is None:
                    event = json.loads(frame.text)
                    # These two say where the client is from now on.
                    if event.get("type") in ("realtime.ready", "realtime.reset"):
                        epoch, seq = event["epoch"], event["seq"]
                lines.append("" if seq is None else f"id: {epoch}:{seq}\n")
                lines.append(f"data: {frame.text}\n\n")
            if self.code is CloseCode.READS_TOO_SLOWLY and self._direct is not None:
                self._direct.cut_off()
                return
            if self.code is not None:
                close = {"code": int(self.code), "detail": self.code.reason}
                lines.append(f"event: close\ndata: {json.dumps(close)}\n\n")
            await _body(send, "".join(lines) or ":\n\n", last=self.code is not None)
            if self.code is not None:
                return
            # What is news until the client has read on waits here, within the bound.
            await self._at_most_half(self._held)


class WaitingAnswers:
    """Around Django: lets answers go on that their views have left waiting."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers: list[tuple[bytes, bytes]] = []
        gone = False

        async def receive_and_note() -> dict[str, Any]:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def send_or_keep(message: dict[str, Any]) -> None:
            if WAITING not in scope:
                await send(message)
            elif message["type"] == "http.response.start":
                headers.extend(message["headers"])

        await self.application(scope, receive_and_note, send_or_keep)
        if WAITING not in scope or gone:
            return
        answering = asyncio.create_task(scope[WAITING].answer(headers, scope, send))
        leaving = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            answering.cancel()
            await asyncio.gather(leaving, answering, return_exceptions=True)
        if not answering.cancelled():
            answering.result()


def _moves(frame: Frame) -> bool:
    """Return whether a frame says where the client is from now on."""
    return frame.seq is not None or frame.text.startswith('{"type":"realtime.reset"')


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], content_type: bytes
) -> None:
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in (b"content-type", b"content-length")
    ]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*kept, (b"Content-Type", content_type)],
        }
    )


async def _refuse(send: Send, headers: list[tuple[bytes, bytes]], status: int, detail: str) -> None:
    more = REFUSAL_HEADERS.get(status, [])
    await _start(send, status, [*headers, *more], b"application/json")
    await _body(send, json.dumps({"detail": detail}), last=True)


async def _body(send: Send, text: str, *, last: bool) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": not last})
