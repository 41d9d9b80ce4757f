"""REST beside the sockets: backfill, and polling for clients that cannot hold a socket."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Stream, UserStream
from .serializers import EventPageSerializer, PageQuerySerializer


class EventsView(APIView):
    """The events of the user who asks."""

    @extend_schema(parameters=[PageQuerySerializer], responses=EventPageSerializer)
    def get(self, request: Request) -> Response:
        """Give stored events after `since`, oldest first; ask again from the last one's `seq`."""
        query = PageQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        UserStream.ensure([request.user.pk])
        stream = UserStream.objects.get(pk=request.user.pk)
        return Response(event_page(stream, **query.validated_data))


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
