"""The database that was chosen for this project."""

from django.db import connection


def test_the_suite_runs_on_postgresql(db):
    """With PostgreSQL chosen, nothing is ever tested on SQLite."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        (version,) = cursor.fetchone()

    assert version.startswith("PostgreSQL ")
