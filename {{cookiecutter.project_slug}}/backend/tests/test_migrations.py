"""The migrations and the models say the same."""

from django.core.management import call_command


def test_no_migration_is_missing(db):
    """`manage.py makemigrations` has nothing to do."""
    call_command("makemigrations", check_changes=True, dry_run=True, interactive=False)
