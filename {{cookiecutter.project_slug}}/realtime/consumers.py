"""Sockets on streams: who may follow, what a client may send, and how frames leave."""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs
from uuid import UUID

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.urls import Resolver404, resolve
from django.utils import timezone

from accounts.models import User
from accounts.tokens import Access, InvalidToken, authenticate

from . import tickets
from .close_codes import CloseCode
from .connection import BufferedConnection, Receive, Scope, Send
from .database import in_database
from .feed import Subscription
from .frames import Frame, check_payload, encode, ready_frame
from .hub import Hub, TooManySockets
from .models import Stream, UserStream
from .streams import StreamBusy

logger = logging.getLogger(__name__)

# Unusable frames in a row after which the server gives up on a client.
MAX_BAD_FRAMES = 10
# Where the paths of all sockets stand.
URLCONF = "realtime.routing"
# Characters of a stream's name.
LONGEST_NAME = 255

T = TypeVar("T")


class Refused(Exception):
    """There is nothing here for this user; carries the close code."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(f"refused with close code {code}")
        self.code = code


class BadFrame(Exception):
    """The client sent a frame that cannot be used; it is told `code` and `detail`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StreamConsumer:
    """A stream as one user follows it: which one it is, and what its client may send.

    The route of a subclass gives it a socket of its own, and a name by which a client can subscribe
    on `/ws/realtime/`: both get the same.
    """

    subscription: Subscription

    def __init__(self, user: User, kwargs: dict[str, Any]) -> None:
        """Stand for the stream that a user asks for.

        Args:
            user: who asks.
            kwargs: what the route has found in the path.
        """
        self.user = user
        self.kwargs = kwargs

    def get_stream(self) -> Stream:
        """Read the stream that is asked for; runs on a database thread.

        A subclass overrides this or `get_streams`; each does it by the other.

        Raises:
            Refused: with 4403 or 4404, if there is nothing here for this user.
        """
        [stream] = self.get_streams([self])
        if isinstance(stream, Refused):
            raise stream
        return stream

    @classmethod
    def get_streams(cls, consumers: Sequence[Self]) -> Sequence[Stream | Refused]:
        """Read the streams of many consumers of one user; runs on a database thread.

        A subclass that can do it with one query for all overrides this in place of `get_stream`.

        Returns:
            For each consumer, in this order, the stream, or why there is none for this user.
        """
        return [consumer._stream_or_refusal() for consumer in consumers]

    async def receive_event(self, event: dict[str, Any]) -> None:
        """Use a client's frame whose type is not the protocol's own.

        Raises:
            BadFrame: the frame cannot be used.
        """
        raise BadFrame("unknown_type", "this stream has no use for a frame of this type")

    @property
    def stream(self) -> Stream:
        """The stream, as this process first read it."""
        return self.subscription.feed.stream

    def reply(self, payload: Mapping[str, Any]) -> None:
        """Send an event to this client alone, without storing it.

        Raises:
            ValueError: the payload breaks the contract.
        """
        self.subscription.send(Frame(check_payload(payload)))

    def end(self, code: CloseCode) -> None:
        """End the subscription; a socket of the stream's own closes."""
        self.subscription.end(code)

    @classmethod
    def as_asgi(cls) -> Any:
        """Return the ASGI application of sockets of the stream's own.

        Raises:
            TypeError: the class says nowhere which stream it is.
        """
        inherited = (StreamConsumer.get_stream, StreamConsumer.get_streams.__func__)  # type: ignore[attr-defined]
        if (cls.get_stream, cls.get_streams.__func__) == inherited:  # type: ignore[attr-defined]
            raise TypeError(f"{cls.__name__} needs get_stream, or get_streams: which stream is it?")
        return Socket.as_asgi(stream_consumer=cls)

    def _stream_or_refusal(self) -> Stream | Refused:
        try:
            return self.get_stream()
        except Refused as refused:
            return refused


class RealtimeConsumer(StreamConsumer):
    """`/ws/realtime/`: the connected user's own events, and whatever the client subscribes to."""

    def get_stream(self) -> Stream:
        """Return the user's stream; the first connection creates it."""
        stream = UserStream.objects.filter(pk=self.user.pk).first()
        if stream is None:
            UserStream.ensure([self.user.pk])
            stream = UserStream.objects.get(pk=self.user.pk)
        return stream


class Socket(BufferedConnection, AsyncWebsocketConsumer):
    """One connection: the stream of its path, and subscriptions to others.

    It takes nothing from the channel layer itself: the hub does, once for all sockets.
    """

    channel_layer_alias = None
    user: User

    def __init__(self, stream_consumer: type[StreamConsumer]) -> None:
        AsyncWebsocketConsumer.__init__(self)
        self.stream_consumer = stream_consumer

    # The life of a connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one frame after another. Channels' own loop adds two tasks to every socket, and
        to every frame a task and a thread that closes database connections."""
        self.scope = scope
        self.base_send = send
        self.token_version = 0
        BufferedConnection.__init__(self, scope.get("extensions", {}).get("realtime.direct"))
        self._writer: asyncio.Task[None] | None = None
        self._bad_frames = 0
        self._hub: Hub | None = None
        self._own: StreamConsumer | None = None
        self._others: dict[str, StreamConsumer] = {}
        self._expires_at = timezone.now()
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
            access, own, stream = await in_database(self._open, query)
            self._hub = Hub.current()
            own.subscription = await self._hub.join(self, stream)
        except InvalidToken:
            self.end(CloseCode.NOT_AUTHENTICATED)
            return
        except TooManySockets:
            self.end(CloseCode.TOO_MANY)
            return
        except Refused as refused:
            self.end(refused.code)
            return
        except (InterfaceError, OperationalError) as error:
            # A lock, or a database that is away: the client comes back by itself.
            logger.warning("a socket could not be opened: %r", error)
            self.end(CloseCode.SERVER_FAULT)
            return
        self._own = own
        self._keep_until(access)
        await self._hub.presence.look([own.subscription.feed])
        if "since" in query:
            own.subscription.ask(*position_of(query["since"][0], query.get("epoch", [""])[0]))
        own.subscription.start()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Use one frame of the client; one that cannot be used is answered, not fatal."""
        event: dict[str, Any] = {}
        try:
            event = self._read_frame(text_data)
            await self._use(event)
            self._bad_frames = 0
        except BadFrame as error:
            self._send_error(error.code, str(error), event)
            self._bad_frames += 1
            if self._bad_frames >= MAX_BAD_FRAMES:
                self.end(CloseCode.UNUSABLE_FRAMES)
        except StreamBusy as error:
            self._send_error("busy", str(error), event)
        except (InterfaceError, OperationalError) as error:
            # One frame that met a database that is away is no reason to end all streams.
            logger.warning("a frame of user %s could not be used: %r", self.user_id, error)
            self._send_error("busy", "the database does not answer: try again", event)

    # What the hub needs of a connection

    @property
    def user_id(self) -> int:
        """The id of the connected user."""
        return self.user.pk

    def write(self, frames: Sequence[Frame], wire: bytes) -> None:
        """Send frames: at once where the server offers it, else through a queue and one task."""
        is_free = self.code is None and not self._queue and self._direct is not None
        if not is_free or not self._direct.write_frames(wire):
            super().write(frames, wire)

    def subscribed(self, subscription: Subscription) -> None:
        """Send the frame from which a stream begins."""
        epoch, seq, present = subscription.epoch, subscription.seq, subscription.feed.present
        if subscription.name is None:
            frame = ready_frame(epoch, seq, self._expires_at)
            self.write([frame], frame.wire)
            return
        names = {} if present is None else {"present": sorted(present.values())}
        self._send_frame(
            type="realtime.subscribed", stream=subscription.name, epoch=epoch, seq=seq, **names
        )

    def unsubscribed(self, subscription: Subscription, code: CloseCode) -> None:
        """Send why a subscription has ended; where it is that of the path, the socket closes."""
        if subscription.name is None:
            self.end(code)
            return
        self._drop(subscription.name)
        self._send_unsubscribed(subscription.name, code)

    # Below: how it is done

    def _open(self, query: dict[str, list[str]]) -> tuple[Access, StreamConsumer, Stream]:
        access = self._authenticate(query)
        self.user, self.token_version = access.user, access.user.token_version
        own = self.stream_consumer(self.user, self.scope.get("url_route", {}).get("kwargs", {}))
        return access, own, own.get_stream()

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
        self._expires_at = access.expires_at
        seconds = (access.expires_at - timezone.now()).total_seconds()
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(max(0.0, seconds), self.end, CloseCode.NOT_AUTHENTICATED)

    def _read_frame(self, text: str | None) -> dict[str, Any]:
        if text is None:
            raise BadFrame("not_text", "frames are text: one JSON object each")
        most = settings.REALTIME_MAX_FRAME_BYTES
        if len(text) > most or len(text.encode()) > most:
            self.end(CloseCode.FRAME_TOO_LARGE)
            return {}
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            raise BadFrame("not_json", "the frame is not valid JSON") from None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise BadFrame("no_type", "a frame is a JSON object whose 'type' is a string")
        return event

    async def _use(self, event: dict[str, Any]) -> None:
        if self._own is None or self.code is not None:
            return  # It is being closed.
        match event["type"]:
            case "realtime.ping":
                self._send_frame(type="realtime.pong")
            case "realtime.authenticate":
                await self._authenticate_again(event.get("token"))
            case "realtime.subscribe" if self._carries_others:
                await self._subscribe(_asked_streams(event))
            case "realtime.unsubscribe" if self._carries_others:
                for name in _list_of_streams(event, str):
                    self._drop(name)
                    self._send_unsubscribed(name, CloseCode.NORMAL)
            case _:
                await self._consumer_for(event).receive_event(event)

    @property
    def _carries_others(self) -> bool:
        return issubclass(self.stream_consumer, RealtimeConsumer)

    def _consumer_for(self, event: dict[str, Any]) -> StreamConsumer:
        """Return whose frame it is: on `/ws/realtime/` it may name another stream."""
        assert self._own is not None
        if "stream" not in event or not self._carries_others:
            return self._own
        name = event["stream"]
        if not isinstance(name, str) or name not in self._others:
            raise BadFrame("not_subscribed", "this connection is not subscribed to that stream")
        return self._others[name]

    async def _subscribe(self, asked: dict[str, tuple[int, str | None] | None]) -> None:
        """Subscribe to streams, from the positions that the client has of them."""
        assert self._hub is not None
        names: list[str] = []
        for name in asked:
            followed = len(self._others.keys() | names)
            if name in self._others or followed < settings.REALTIME_SUBSCRIPTIONS_PER_SOCKET:
                names.append(name)
            else:
                self._send_unsubscribed(name, CloseCode.TOO_MANY)
        begun = []
        for name, opened in (await in_database(self._open_streams, names)).items():
            # Whoever subscribes anew starts from what is asked for now.
            self._drop(name)
            if isinstance(opened, Refused):
                self._send_unsubscribed(name, opened.code)
                continue
            consumer, stream = opened
            subscription = consumer.subscription = self._hub.follow(self, stream, name)
            if (position := asked[name]) is not None:
                subscription.ask(*position)
            self._others[name] = consumer
            begun.append(subscription)
        try:
            await self._hub.announce(begun)
        except InvalidToken:
            self.end(CloseCode.NOT_AUTHENTICATED)
        except (InterfaceError, OperationalError) as error:
            logger.warning("subscriptions of user %s could not begin: %r", self.user_id, error)
            for subscription in begun:
                subscription.end(CloseCode.SERVER_FAULT)
        else:
            for subscription in begun:
                subscription.start()

    def _open_streams(
        self, names: Iterable[str]
    ) -> dict[str, tuple[StreamConsumer, Stream] | Refused]:
        """Read the streams of names, those of a kind together."""
        opened: dict[str, tuple[StreamConsumer, Stream] | Refused] = {}
        kinds: dict[type[StreamConsumer], dict[str, StreamConsumer]] = {}
        for name in names:
            if (consumer := consumer_of(name, self.user)) is not None:
                kinds.setdefault(type(consumer), {})[name] = consumer
            else:
                opened[name] = Refused(CloseCode.NO_SUCH_STREAM)
        for kind, consumers in kinds.items():
            streams = kind.get_streams(list(consumers.values()))
            for (name, consumer), stream in zip(consumers.items(), streams, strict=True):
                opened[name] = stream if isinstance(stream, Refused) else (consumer, stream)
        return opened

    def _drop(self, name: str) -> None:
        """End a subscription without a word, if there is one."""
        consumer = self._others.pop(name, None)
        if consumer is not None and self._hub is not None:
            self._hub.unfollow(consumer.subscription)

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

    def _send_unsubscribed(self, name: str, code: CloseCode) -> None:
        self._send_frame(
            type="realtime.unsubscribed", stream=name, code=int(code), detail=code.reason
        )

    def _send_error(self, code: str, detail: str, event: dict[str, Any]) -> None:
        stream = {"stream": event["stream"]} if isinstance(event.get("stream"), str) else {}
        self._send_frame(type="realtime.error", code=code, detail=detail, **stream)

    def _send_frame(self, **payload: Any) -> None:
        try:
            frame = Frame(encode(payload))
        except UnicodeEncodeError:
            # Half of a character, in a name that the client has sent.
            frame = Frame(json.dumps(payload))
        self.write([frame], frame.wire)

    def _wake(self, frames: Sequence[Frame]) -> None:
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_queue())

    async def _write_queue(self) -> None:
        while self._queue:
            frame = self._queue.popleft()
            self._queued_bytes = max(0, self._queued_bytes - len(frame.wire))
            await self.send(text_data=frame.text)
        self._queued_bytes = 0
        self._writer = None
        if self.code is not None:
            await self.close(code=int(self.code))

    def _clean_up(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        for name in tuple(self._others):
            self._drop(name)
        if self._own is not None:
            self._own.subscription.stop()
        if self._hub is not None:
            self._hub.leave(self)


class UnknownPathConsumer(AsyncWebsocketConsumer):
    """Any other path below `/ws/`: accepted, then closed with a code that a browser can see."""

    channel_layer_alias = None

    async def connect(self) -> None:
        """Say that there is nothing here."""
        offered = self.scope.get("subprotocols", [])
        await self.accept(subprotocol="bearer" if "bearer" in offered else None)
        await self.close(code=int(CloseCode.NO_SUCH_STREAM))


def consumer_of(name: str, user: User) -> StreamConsumer | None:
    """Return what stands for the stream of a name, such as `chat/general`, to a user.

    The routes say what it is: the name is the path below `/ws/`. None, if there is no such path.
    """
    if len(name) > LONGEST_NAME:
        return None
    try:
        match = resolve(f"/ws/{name}/", URLCONF)
    except Resolver404:
        return None
    kind = getattr(match.func, "consumer_initkwargs", {}).get("stream_consumer")
    return None if kind is None else kind(user, match.kwargs)


def _list_of_streams(event: dict[str, Any], kind: type[T]) -> list[T]:
    """Return what a frame lists as `streams`."""
    streams, most = event.get("streams"), settings.REALTIME_SUBSCRIPTIONS_PER_SOCKET
    if (
        not isinstance(streams, list)
        or len(streams) > most
        or not all(isinstance(item, kind) for item in streams)
    ):
        what = "names" if kind is str else "objects with 'stream'"
        raise BadFrame("no_streams", f"'streams' is a list of up to {most} {what}")
    return streams


def _asked_streams(event: dict[str, Any]) -> dict[str, tuple[int, str | None] | None]:
    """Return which streams a frame asks for, and from which positions, if any."""
    asked: dict[str, tuple[int, str | None] | None] = {}
    for item in _list_of_streams(event, dict):
        name = item.get("stream")
        if not isinstance(name, str):
            raise BadFrame("no_streams", "each of 'streams' has a string as 'stream'")
        position = item.get("since") is not None
        asked[name] = position_of(item["since"], item.get("epoch")) if position else None
    return asked


def position_of(since: Any, epoch: Any) -> tuple[int, str | None]:
    """Read `since` and `epoch`; what cannot be read leads to a reset, never to a silent gap."""
    try:
        return int(str(since)), str(UUID(str(epoch)))
    except ValueError:
        return -1, None
