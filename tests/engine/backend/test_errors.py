"""What a request is answered that meets a database in trouble."""

import pytest
from backend import errors
from django.db import ConnectionHandler, InterfaceError, OperationalError, connection
from django.http import HttpRequest

CONTEXT = {"request": HttpRequest(), "view": None}


@pytest.mark.django_db
def test_a_database_that_is_away():
    """It may come back: the client may try again."""
    away = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/db.sqlite3"}
    with pytest.raises(OperationalError) as caught:
        ConnectionHandler({"default": away})["default"].ensure_connection()

    response = errors.answer(caught.value, CONTEXT)

    assert (response.status_code, response["Retry-After"]) == (503, "1")


def test_a_connection_that_is_closed():
    """The server has restarted since it was made."""
    response = errors.answer(InterfaceError("connection already closed"), CONTEXT)

    assert response.status_code == 503


@pytest.mark.django_db
def test_a_statement_that_is_wrong():
    """Tables that are not there do not come by waiting: that is a fault of the server."""
    with pytest.raises(Exception, match="nothing") as caught, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM nothing")

    assert errors.answer(caught.value, CONTEXT) is None
