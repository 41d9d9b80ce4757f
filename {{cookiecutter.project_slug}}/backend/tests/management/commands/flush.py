"""`flush`, as the database is emptied after each transactional test."""

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands.flush import Command as DjangoCommand
from django.db import connections, transaction

# Django would make them anew from the models, the same ones, each time.
KEPT = {Permission, ContentType}


class Command(DjangoCommand):
    """Deletes the few rows that a test leaves; Django's own makes PostgreSQL make all tables anew.

    In the settings of the tests it takes the place of Django's.
    """

    def handle(self, **options: Any) -> None:
        """Delete every row but of what is kept."""
        database = options["database"]
        connection = connections[database]
        tables = [
            connection.ops.quote_name(model._meta.db_table)
            for model in apps.get_models(include_auto_created=True)
            if model._meta.managed and not model._meta.proxy and model not in KEPT
        ]
        # In one transaction, at whose end foreign keys are checked.
        with transaction.atomic(using=database), connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")  # noqa: S608
