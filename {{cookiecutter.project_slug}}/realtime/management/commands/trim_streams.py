"""Delete old events; run it once a day."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.models import UserStream
from realtime.retention import stream_models, trim


class Command(BaseCommand):
    """Keeps the tables of events from growing for ever."""

    help = "Delete the users' events that are too old or too many; other streams only if named."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the limits, and which streams they are for."""
        parser.add_argument(
            "--days",
            type=float,
            default=settings.REALTIME_RETENTION_DAYS,
            help="delete entries older than this (default: %(default)s, 0 for no limit)",
        )
        parser.add_argument(
            "--entries",
            type=int,
            default=settings.REALTIME_RETENTION_ENTRIES,
            help="keep so many of a stream's latest (default: %(default)s, 0 for no limit)",
        )
        parser.add_argument(
            "--batch", type=int, default=1000, help="entries in one transaction (%(default)s)"
        )
        parser.add_argument(
            "--stream",
            action="append",
            metavar="APP.MODEL",
            help="which streams to trim (default: realtime.UserStream); may be repeated",
        )

    def handle(
        self,
        *args: Any,
        days: float,
        entries: int,
        batch: int,
        stream: list[str] | None,
        **options: Any,
    ) -> None:
        """Trim and report."""
        if days < 0 or entries < 0 or batch < 1:
            raise CommandError("--days and --entries are 0 or more, --batch is 1 or more")
        for label in stream or [UserStream._meta.label]:
            try:
                model = apps.get_model(label)
            except (LookupError, ValueError):
                model = None
            if model not in stream_models():
                known = ", ".join(model._meta.label for model in stream_models())
                raise CommandError(f"{label!r} is no stream: choose from {known}")
            deleted, streams = trim(model, days=days or None, entries=entries or None, batch=batch)
            self.stdout.write(
                f"{model._meta.label}: {deleted} entries of {streams} streams deleted"
            )
