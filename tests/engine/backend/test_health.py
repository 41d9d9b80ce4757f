"""The health probes."""

import socket
from threading import Event

import pytest
from backend import health
from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def refused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_redis_present(client: Client, settings):
    """A Redis that answers its ping makes the process ready."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.REDIS_URLS = [f"redis://127.0.0.1:{server.getsockname()[1]}"]
        answering = health._threads.submit(answer_every_command, server)
        response = client.get("/readyz")
        answering.result(timeout=5)

    assert response.json() == {"status": "ok", "database": "ok", "redis": "ok"}


def answer_every_command(server: socket.socket) -> None:
    """Answer one client as a Redis does: its greeting, its ping and the rest."""
    answers = {b"HELLO": b"%1\r\n+proto\r\n:3\r\n", b"PING": b"+PONG\r\n"}
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65536):
            for command in data.split(b"*")[1:]:
                name = command.split(b"\r\n")[2]
                connection.sendall(answers.get(name, b"+OK\r\n"))


def test_a_check_that_hangs(client: Client, settings, monkeypatch):
    """The answer comes in bounded time, also when the database's never does."""
    settings.REDIS_URLS = []
    released = Event()
    monkeypatch.setattr(health, "READY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(health, "check_database", released.wait)

    response = client.get("/readyz")
    released.set()

    assert response.status_code == 503
    assert response.json()["database"] == "no answer within 0.1 s"
