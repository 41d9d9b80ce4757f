"""What `migrate` warns of."""

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder


@pytest.mark.django_db
def test_an_app_that_was_removed():
    """Its tables stay, and their rows would keep users from being deleted."""
    MigrationRecorder(connection).record_applied("polls", "0001_initial")

    (warning,) = run_checks(tags=["database"], databases=["default"])

    assert warning.id == "accounts.W001"
    assert "'polls'" in warning.msg
    assert "`python manage.py migrate polls zero`" in str(warning.hint)


@pytest.mark.django_db
def test_all_apps_are_there():
    """There is nothing to warn of."""
    assert run_checks(tags=["database"], databases=["default"]) == []
