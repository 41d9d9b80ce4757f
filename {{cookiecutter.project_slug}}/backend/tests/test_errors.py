"""What unusable requests are answered."""

import pytest
from django.http import HttpRequest
from django.test import Client
from rest_framework.test import APIClient

from accounts import tokens
from accounts.models import User
from backend import errors

TOKEN = "/api/token/"


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000])
def test_a_body_that_is_nested_too_deeply(db, anonymous: APIClient, body: str):
    """The decoder's recursion limit is met by the client's fault, not the server's."""
    response = anonymous.post(TOKEN, body, content_type="application/json")

    assert response.status_code == 400
    assert "nested" in response.json()["detail"]


def test_a_body_that_is_too_large(db, anonymous: APIClient, settings):
    """The status says so, and the answer is JSON."""
    body = '{"username": "' + "a" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + '"}'

    response = anonymous.post(TOKEN, body, content_type="application/json")

    assert response.status_code == 413
    assert response.json() == {"detail": "The body of the request is too large."}


def test_a_path_that_is_not_there(db, client: Client):
    """Below /api/ the answer is JSON, elsewhere a page."""
    assert client.get("/api/nothing/").json() == {"detail": "Not found."}
    assert client.get("/nothing/")["Content-Type"].startswith("text/html")
    assert client.get("/nothing/").status_code == 404


def test_a_host_that_is_not_this_one(client: Client):
    """A request to another host is refused in JSON too."""
    response = client.get("/api/token/", headers={"host": "elsewhere.example"})

    assert response.status_code == 400
    assert response.json() == {"detail": "Bad request."}


def test_a_fault_of_the_server():
    """What is wrong is for the log."""
    request = HttpRequest()
    request.path = "/api/token/"

    response = errors.server_error(request)

    assert response.status_code == 500
    assert response["Content-Type"] == "application/json"


@pytest.mark.django_db(transaction=True)
def test_a_row_that_another_transaction_holds(anonymous, user, short_lock_timeout, held, caplog):
    """Who waits for it too long is told to try again, soon enough."""
    refresh = tokens.issue(user).refresh

    with held(lambda: User.objects.select_for_update().get(pk=user.pk)):
        response = anonymous.post("/api/token/blacklist/", {"refresh": refresh})

    assert response.status_code == 503
    assert response["Retry-After"] == "1"
    assert response.json() == {"detail": "The database is busy or does not answer. Try again."}
    assert "/api/token/blacklist/" in caplog.text
    assert "Traceback" not in caplog.text
