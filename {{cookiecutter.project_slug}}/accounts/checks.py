"""What `migrate` looks for before it begins."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder


@checks.register(checks.Tags.database)
def tables_of_removed_apps(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """Warn of tables that no app knows any more: their rows keep users from being deleted."""
    installed = {config.label for config in apps.get_app_configs()}
    warnings: list[checks.CheckMessage] = []
    for alias in databases or ():
        migrated = {app for app, _ in MigrationRecorder(connections[alias]).applied_migrations()}
        for app in sorted(migrated - installed):
            warnings.append(
                checks.Warning(
                    f"The database has the tables of {app!r}, which is no longer installed.",
                    hint="Rows in them keep users and others from being deleted. Check out the "
                    f"last commit with the app, run `python manage.py migrate {app} zero`, which "
                    "drops its tables, and come back.",
                    id="accounts.W001",
                )
            )
    return warnings
