"""REST beside the sockets: backfill, and polling for clients that cannot hold a socket."""

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.throttles import TicketThrottle
from accounts.tokens import Access

from . import tickets
from .models import Stream, UserStream
from .serializers import EventPageSerializer, PageQuerySerializer, TicketSerializer


class EventsView(APIView):
    """The events of the user who asks."""

    @extend_schema(
        summary="Read my events",
        parameters=[PageQuerySerializer],
        responses=EventPageSerializer,
    )
    def get(self, request: Request) -> Response:
        """Give stored events after `since`, oldest first; the last `seq` is the next `since`."""
        query = PageQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        UserStream.ensure([request.user.pk])
        stream = UserStream.objects.get(pk=request.user.pk)
        return Response(event_page(stream, **query.validated_data))


class TicketView(APIView):
    """Tickets for sockets of the user who asks."""

    throttle_classes = [TicketThrottle]

    @extend_schema(summary="Buy a ticket", request=None, responses={201: TicketSerializer})
    def post(self, request: Request) -> Response:
        """Give a ticket for one socket: `?ticket=` in its address, once, within 30 seconds.

        The socket lives as long as the token of this request.
        """
        access = cast(Access, request.auth)
        left = int((access.expires_at - timezone.now()).total_seconds())
        answer = {
            "ticket": tickets.issue(access),
            "expires_in": max(0, min(tickets.TICKET_SECONDS, left)),
        }
        return Response(answer, status=201)


def event_page(stream: Stream, since: int, limit: int) -> dict[str, Any]:
    """Give a page of a stream as REST answers it.

    Args:
        stream: its row, as it was read.
        since: the last sequence number that the client has.
        limit: how many events at most.
    """
    entries = stream.entry_model()._default_manager.filter(stream=stream.pk, seq__gt=since)
    return {
        "epoch": stream.epoch,
        "head": stream.head,
        "trimmed": stream.trimmed,
        "events": [entry.event() for entry in entries.order_by("seq")[:limit]],
    }
