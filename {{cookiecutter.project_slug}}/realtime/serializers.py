"""What the REST side of a stream takes and gives."""

from rest_framework import serializers

# The largest number that a sequence column holds.
LARGEST_SEQ = 2**63 - 1


class PageQuerySerializer(serializers.Serializer):
    """Which part of a stream to give."""

    since = serializers.IntegerField(min_value=0, max_value=LARGEST_SEQ, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=100)


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
