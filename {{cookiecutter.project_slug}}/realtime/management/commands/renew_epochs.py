"""Start new histories after a backup has been restored."""

from typing import Any

from django.core.management.base import BaseCommand

from realtime.retention import renew_epochs


class Command(BaseCommand):
    """Makes every client refetch what it may have seen from the lost future."""

    help = "Give every stream a new epoch; run it after restoring a backup."

    def handle(self, *args: Any, **options: Any) -> None:
        """Renew and report."""
        self.stdout.write(f"{renew_epochs()} streams have a new epoch")
