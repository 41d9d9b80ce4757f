"""A stream as an app of the user's own adds it."""

from django.db import models
from realtime.models import Entry, Stream


class Room(Stream):
    """A log that everybody in the benchmark's room follows."""


class Message(Entry):
    """What somebody said there."""

    stream = models.ForeignKey(Room, models.CASCADE, related_name="entries", db_index=False)
