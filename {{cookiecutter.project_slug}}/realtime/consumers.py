"""A socket on a stream: who may open it, what its client may send, and how frames leave."""

import abc
import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from accounts.tokens import Access, InvalidToken, authenticate

from . import tickets
from .close_codes import CloseCode
from .database import in_database
from .feed import Subscription
from .frames import Frame, encode
from .hub import Hub, TooManySockets
from .models import Stream, UserStream
from .streams import StreamBusy

logger = logging.getLogger(__name__)

# Unusable frames in a row after which the server gives up on a client.
MAX_BAD_FRAMES = 10
# Seconds between two looks at how much of a replay the client has read.
DRAIN_POLL_SECONDS = 0.02


class Refused(Exception):
    """The user may not open this socket; carries the close code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with close code {code}")
        self.code = code


class BadFrame(Exception):
    """The client sent a frame that cannot be used; it is told `code` and `detail`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StreamConsumer(AsyncWebsocketConsumer, abc.ABC):
    """A socket that follows one stream; a subclass says which one.

    It takes nothing from the channel layer itself: the hub does, once for all sockets.
    """

    channel_layer_alias = None
    user: User

    @abc.abstractmethod
    def get_stream(self) -> Stream:
        """Read the stream that `self.user` asks for; runs on a database thread.

        Raises:
            Refused: with 4403 or 4404, if there is nothing here for this user.
        """

    async def receive_event(self, event: dict[str, Any]) -> None:
        """Use a client's frame whose type is not the protocol's own.

        Raises:
            BadFrame: the frame cannot be used.
        """
        raise BadFrame("unknown_type", "this socket has no use for a frame of this type")

    # The life of a connection

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Handle one frame after another. Channels' own loop adds two tasks to every socket, and
        to every frame a task and a thread that closes database connections."""
        self.scope = scope
        self.base_send = send
        self.token_version = 0
        self._direct = scope.get("extensions", {}).get("realtime.direct")
        self._queue: deque[Frame] = deque()
        self._queued_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._close_code: int | None = None
        self._bad_frames = 0
        self._hub: Hub | None = None
        self._subscription: Subscription | None = None
        self._expiry: asyncio.TimerHandle | None = None
        try:
            while True:
                message = await receive()
                await getattr(self, get_handler_name(message))(message)
        except StopConsumer:
            pass
        finally:
            # Here and not in `disconnect`, which is not called after a handler has raised
            # (https://github.com/django/channels/issues/1466).
            self._clean_up()

    async def connect(self) -> None:
        """Accept, since a browser sees no code of a refused handshake; then ask who it is."""
        offered = self.scope.get("subprotocols", [])
        await self.accept(subprotocol="bearer" if "bearer" in offered else None)
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        try:
            access, stream = await in_database(self._open, query)
            self._hub = Hub.current()
            subscription = self._subscription = await self._hub.join(self, stream)
        except InvalidToken:
            self.end(CloseCode.NOT_AUTHENTICATED)
            return
        except TooManySockets:
            self.end(CloseCode.TOO_MANY)
            return
        except Refused as refused:
            self.end(refused.code)
            return
        self._keep_until(access)
        if "since" in query:
            subscription.ask(*_asked_position(query))
        self._send_frame(
            type="realtime.ready",
            epoch=subscription.epoch,
            seq=subscription.seq,
            expires_at=access.expires_at,
        )
        subscription.start()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Use one frame of the client; one that cannot be used is answered, not fatal."""
        try:
            await self._receive(text_data)
            self._bad_frames = 0
        except (BadFrame, StreamBusy) as error:
            self._bad_frames += 1
            code = error.code if isinstance(error, BadFrame) else "busy"
            self._send_frame(type="realtime.error", code=code, detail=str(error))
            if self._bad_frames >= MAX_BAD_FRAMES:
                self.end(CloseCode.UNUSABLE_FRAMES)

    # What the hub needs of a connection

    @property
    def user_id(self) -> int:
        """The id of the connected user."""
        return self.user.pk

    def write(self, frames: Sequence[Frame], wire: bytes) -> None:
        """Send frames: at once where the server offers it, else through a queue and one task."""
        if self._close_code is not None:
            return
        if not self._queue and self._direct is not None and self._direct.write_frames(wire):
            return
        if self._queued_bytes + len(wire) > settings.REALTIME_BUFFER_BYTES and self._queue:
            self._queue.clear()
            self.end(CloseCode.READS_TOO_SLOWLY)
            return
        self._queue.extend(frames)
        self._queued_bytes += len(wire)
        self._ensure_writer()

    def end(self, code: int) -> None:
        """Close with a code once everything that is queued has been sent."""
        if self._close_code is None:
            self._close_code = code
            self._ensure_writer()

    async def drained(self) -> None:
        """Wait until at most half of what the client may leave unread is buffered."""
        half = settings.REALTIME_BUFFER_BYTES // 2
        # Polled: neither Twisted nor other servers tell when a client has read.
        while self._buffered_bytes() > half and self._close_code is None:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    # Below: how it is done

    def _open(self, query: dict[str, list[str]]) -> tuple[Access, Stream]:
        access = self._authenticate(query)
        self.user, self.token_version = access.user, access.user.token_version
        return access, self.get_stream()

    def _authenticate(self, query: dict[str, list[str]]) -> Access:
        if "ticket" in query:
            return tickets.redeem(query["ticket"][0])
        subprotocols = self.scope.get("subprotocols", [])
        if "bearer" in subprotocols:
            return authenticate(next((offer for offer in subprotocols if offer != "bearer"), ""))
        return authenticate(query.get("token", [""])[0])

    def _keep_until(self, access: Access) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        seconds = (access.expires_at - timezone.now()).total_seconds()
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(max(0.0, seconds), self.end, CloseCode.NOT_AUTHENTICATED)

    async def _receive(self, text: str | None) -> None:
        if text is None:
            raise BadFrame("not_text", "frames are text: one JSON object each")
        if len(text) > settings.REALTIME_MAX_FRAME_BYTES:
            self.end(CloseCode.FRAME_TOO_LARGE)
            return
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            raise BadFrame("not_json", "the frame is not valid JSON") from None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise BadFrame("no_type", "a frame is a JSON object whose 'type' is a string")
        if self._subscription is None:
            return  # It is being closed.
        match event["type"]:
            case "realtime.ping":
                self._send_frame(type="realtime.pong")
            case "realtime.authenticate":
                await self._authenticate_again(event.get("token"))
            case _:
                await self.receive_event(event)

    async def _authenticate_again(self, token: Any) -> None:
        try:
            access = await in_database(authenticate, token if isinstance(token, str) else "")
            if access.user.pk != self.user.pk:
                raise InvalidToken("it is another user's")
        except InvalidToken:
            self.end(CloseCode.NOT_AUTHENTICATED)
            return
        self._keep_until(access)
        self._send_frame(type="realtime.authenticated", expires_at=access.expires_at)

    def _send_frame(self, **payload: Any) -> None:
        frame = Frame(encode(payload))
        self.write([frame], frame.wire)

    def _buffered_bytes(self) -> int:
        direct = self._direct.buffered_bytes() if self._direct is not None else 0
        return self._queued_bytes + direct

    def _ensure_writer(self) -> None:
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_queue())

    async def _write_queue(self) -> None:
        while self._queue:
            frame = self._queue.popleft()
            self._queued_bytes = max(0, self._queued_bytes - len(frame.wire))
            await self.send(text_data=frame.text)
        self._queued_bytes = 0
        self._writer = None
        if self._close_code is not None:
            await self.close(code=int(self._close_code))

    def _clean_up(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._subscription is not None:
            self._subscription.stop()
        if self._hub is not None:
            self._hub.leave(self)


class RealtimeConsumer(StreamConsumer):
    """`/ws/realtime/`: the connected user's own events."""

    def get_stream(self) -> Stream:
        """Give the user's stream; the first connection creates it."""
        stream = UserStream.objects.filter(pk=self.user.pk).first()
        if stream is None:
            UserStream.ensure([self.user.pk])
            stream = UserStream.objects.get(pk=self.user.pk)
        return stream


class UnknownPathConsumer(AsyncWebsocketConsumer):
    """Any other path below `/ws/`: accepted, then closed with a code that a browser can see."""

    channel_layer_alias = None

    async def connect(self) -> None:
        """Say that there is nothing here."""
        offered = self.scope.get("subprotocols", [])
        await self.accept(subprotocol="bearer" if "bearer" in offered else None)
        await self.close(code=int(CloseCode.NO_SUCH_STREAM))


def _asked_position(query: dict[str, list[str]]) -> tuple[int, str | None]:
    """Read `since` and `epoch`; what cannot be read leads to a reset, never to a silent gap."""
    try:
        return int(query["since"][0]), str(UUID(query.get("epoch", [""])[0]))
    except ValueError:
        return -1, None
