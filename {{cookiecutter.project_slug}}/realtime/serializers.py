"""What the REST side of a stream takes and gives."""

from rest_framework import serializers

# The largest number that a sequence column holds.
LARGEST_SEQ = 2**63 - 1
# Seconds that a long-poll may ask for.
LONGEST_WAIT = 60


class PageQuerySerializer(serializers.Serializer):
    """Which part of a stream to give."""

    since = serializers.IntegerField(min_value=0, max_value=LARGEST_SEQ, default=0)
    epoch = serializers.UUIDField(
        default=None, help_text="The history that `since` belongs to; another one is a reset."
    )
    limit = serializers.IntegerField(min_value=1, max_value=500, default=100)
    wait = serializers.IntegerField(
        min_value=0,
        max_value=LONGEST_WAIT,
        default=0,
        help_text="Seconds to wait for an event, if there is none yet.",
    )


class TicketSerializer(serializers.Serializer):
    """A ticket, and for how many seconds it can be used."""

    ticket = serializers.CharField(read_only=True)
    expires_in = serializers.IntegerField(read_only=True, min_value=0)


class EventPageSerializer(serializers.Serializer):
    """A page of a stream; each event has its payload's own keys, plus `seq`."""

    epoch = serializers.UUIDField()
    head = serializers.IntegerField(min_value=0)
    trimmed = serializers.IntegerField(min_value=0)
    events = serializers.ListField(child=serializers.DictField())


class StreamPageSerializer(EventPageSerializer):
    """The same, with what has become of the position that was asked for."""

    reset = serializers.BooleanField(
        help_text="The position is gone: fetch the state, and carry on from `head`."
    )


class ServerSentEventSerializer(serializers.Serializer):
    """One of the Server-Sent Events, as a client takes it apart."""

    id = serializers.CharField(required=False, help_text="Epoch and number: `<epoch>:<seq>`.")
    event = serializers.CharField(required=False, help_text="`close` for the last one.")
    data = serializers.CharField(  # type: ignore[assignment]
        help_text="The JSON text of the event."
    )
