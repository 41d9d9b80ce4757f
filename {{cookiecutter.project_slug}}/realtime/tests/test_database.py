"""The pool's connections: kept, and asked for their health only where that is in doubt."""

from unittest.mock import Mock

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from realtime import database


@pytest.mark.parametrize(("seconds", "checks"), [(0, 2), (60, 0)])
def test_a_connection_that_has_just_worked_is_not_checked(
    transactional_db, monkeypatch, seconds, checks
):
    """One that has been idle is, before its next query."""
    monkeypatch.setattr(database, "HEALTHY_SECONDS", seconds)
    database._with_connections(get_user_model().objects.count)
    is_usable = Mock(return_value=True)
    monkeypatch.setattr(connection, "is_usable", is_usable)

    for _ in range(2):
        database._with_connections(get_user_model().objects.count)

    assert is_usable.call_count == checks
