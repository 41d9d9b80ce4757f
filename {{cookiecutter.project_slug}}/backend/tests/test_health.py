"""The health probes."""

import socket

import pytest
from django.db import OperationalError
from django.test import Client

from backend import health

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def refused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_alive(client: Client):
    """A process that answers is alive."""
    response = client.get("/livez")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


def test_ready(client: Client, settings):
    """A process whose database answers is ready."""
    settings.REDIS_URLS = []

    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {"status": "ok", "database": "ok"}


def test_probes_come_by_address(client: Client, settings, subtests: pytest.Subtests):
    """A probe needs neither an allowed host name nor HTTPS."""
    settings.REDIS_URLS = []
    settings.SECURE_SSL_REDIRECT = True

    for path in ("/livez", "/readyz"):
        with subtests.test(path=path):
            assert client.get(path, headers={"host": "10.0.0.7:8000"}).status_code == 200


def test_redis_away(client: Client, settings, refused_port: int):
    """Without the configured Redis a process is alive but not ready, and says why."""
    settings.REDIS_URLS = [f"redis://:secret@127.0.0.1:{refused_port}"]

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "database": "ok",
        "redis": "ConnectionError",
    }
    assert client.get("/livez").status_code == 200


def test_database_away(client: Client, settings, monkeypatch):
    """Without its database a process is alive but not ready."""

    def fail() -> None:
        raise OperationalError

    settings.REDIS_URLS = []
    monkeypatch.setattr(health, "check_database", fail)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "database": "OperationalError"}
    assert client.get("/livez").status_code == 200
