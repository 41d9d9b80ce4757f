"""REST beside the sockets: backfill, and polling for clients that cannot hold a socket."""

from typing import Any, cast
from uuid import UUID

from django.db import router
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotAcceptable, NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from accounts.throttles import TicketThrottle
from accounts.tokens import Access

from . import tickets
from .close_codes import CloseCode
from .consumers import Refused, consumer_of, position_of
from .http import EVENT_STREAM, EventStream, LongPoll, can_wait, wait
from .models import Stream
from .serializers import (
    PageQuerySerializer,
    ServerSentEventSerializer,
    StreamPageSerializer,
    TicketSerializer,
)

NO_STORE = {"Cache-Control": "no-store"}


class StreamView(APIView):
    """A stream over HTTP, for those who may follow it."""

    @extend_schema(
        summary="Read a stream",
        parameters=[
            PageQuerySerializer,
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER),
        ],
        responses={
            (200, "application/json"): StreamPageSerializer,
            (200, EVENT_STREAM): ServerSentEventSerializer,
            403: OpenApiResponse(description="Not allowed to this user."),
            404: OpenApiResponse(description="There is no such stream for this user."),
            406: OpenApiResponse(description="This server has no event loop."),
            429: OpenApiResponse(description="The user has too many connections."),
        },
    )
    def get(self, request: Request, name: str) -> HttpResponseBase:
        """Return stored events after `since`, oldest first; the last `seq` is the next `since`.

        With `wait` it waits for one where there is none. `Accept: text/event-stream` asks for
        Server-Sent Events: each event's id is its epoch and number, with which `Last-Event-ID`
        resumes; without a position they start at now. The last one is of the type `close`, with a
        close code.
        """
        query = PageQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        stream = self._stream(request, name)
        access = cast(Access, request.auth)
        may_wait = can_wait(request._request) and request.method == "GET"
        if _wants_events(request):
            if not can_wait(request._request):
                raise NotAcceptable("This server has no event loop: ask the one of the sockets.")
            if may_wait:
                wait(request._request, EventStream(access, stream, _position(request)))
            return HttpResponse(
                content_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no", **NO_STORE}
            )
        page = event_page(stream, **query.validated_data)
        seconds = query.validated_data["wait"]
        if seconds and not page["events"] and not page["reset"] and may_wait:
            position = (query.validated_data["since"], str(stream.epoch))
            wait(request._request, LongPoll(access, stream, position, seconds=seconds))
        return Response(page, headers=NO_STORE)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Answer with JSON where Server-Sent Events are asked for, but for these themselves."""
        return super().perform_content_negotiation(request, force or _wants_events(request))

    def _stream(self, request: Request, name: str) -> Stream:
        consumer = consumer_of(name, cast(User, request.user))
        if consumer is None:
            raise NotFound("There is no such stream.")
        try:
            return consumer.get_stream()
        except Refused as refused:
            if refused.code is CloseCode.NOT_ALLOWED:
                raise PermissionDenied from None
            raise NotFound("There is no such stream.") from None


class EventsView(StreamView):
    """The events of the user who asks: the stream `realtime`."""

    @extend_schema(
        summary="Read my events",
        parameters=[PageQuerySerializer],
        responses=StreamPageSerializer,
    )
    def get(self, request: Request, name: str = "realtime") -> HttpResponseBase:
        """Return events after `since`, oldest first, as `GET /api/streams/realtime/` does."""
        return super().get(request, name)


class TicketView(APIView):
    """Tickets for sockets of the user who asks."""

    throttle_classes = [TicketThrottle]

    @extend_schema(summary="Buy a ticket", request=None, responses={201: TicketSerializer})
    def post(self, request: Request) -> Response:
        """Return a ticket for one socket: `?ticket=` in its address, once, within 30 seconds.

        The socket lives as long as the token of this request.
        """
        access = cast(Access, request.auth)
        left = int((access.expires_at - timezone.now()).total_seconds())
        answer = {
            "ticket": tickets.issue(access),
            "expires_in": max(0, min(tickets.TICKET_SECONDS, left)),
        }
        return Response(answer, status=201)


def event_page(
    stream: Stream, since: int, limit: int, epoch: UUID | None = None, **others: Any
) -> dict[str, Any]:
    """Return a page of a stream as REST answers it.

    Args:
        stream: its row, as it was read.
        since: the last sequence number that the client has.
        limit: how many events at most.
        epoch: the history that it belongs to; without one it is taken to be the stream's, and 0
            to be the beginning, whatever has been deleted since.
    """
    # From 0 on, without a history, whatever is there will do.
    has_position = epoch is not None or since > 0
    is_gone = has_position and (
        epoch not in (None, stream.epoch) or not stream.trimmed <= since <= stream.head
    )
    stored = stream.entry_model()._default_manager.using(router.db_for_write(type(stream)))
    entries = stored.filter(stream=stream.pk, seq__gt=since)
    events = [] if is_gone else [entry.event() for entry in entries.order_by("seq")[:limit]]
    if has_position and events and events[0]["seq"] != since + 1:
        # What lies between has been trimmed since the row was read.
        is_gone, events = True, []
    return {
        "epoch": stream.epoch,
        "head": stream.head,
        "trimmed": stream.trimmed,
        "reset": is_gone,
        "events": events,
    }


def _wants_events(request: Request) -> bool:
    accepted = request.headers.get("Accept", "").split(",")
    return EVENT_STREAM in [kind.partition(";")[0].strip().lower() for kind in accepted]


def _position(request: Request) -> tuple[int, str | None] | None:
    """Return from where Server-Sent Events continue, None for what is new."""
    if (last := request.headers.get("Last-Event-ID")) is not None:
        epoch, _, seq = last.rpartition(":")
        return position_of(seq, epoch)
    if "since" in request.query_params:
        return position_of(request.query_params["since"], request.query_params.get("epoch"))
    return None
