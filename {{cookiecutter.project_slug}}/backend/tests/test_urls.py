"""The routes that belong to no app."""

import re

import pytest
from django.test import Client


def test_home(client: Client):
    """The root leads to the documentation of the API."""
    response = client.get("/")

    assert response.status_code == 302
    assert response["Location"] == "/api/docs/"


def test_documentation_pages(db, client: Client):
    """The pages load everything from this server, and it is there."""
    sources = set()
    for path in ("/api/docs/", "/api/redoc/"):
        page = client.get(path).text
        sources |= set(re.findall(r"""(?:src|href|spec-url)=["']([^"']+)""", page))
    assert any("/static/" in source for source in sources)

    for source in sources:
        assert source.startswith("/")
        response = client.get(source.replace("&amp;", "&"))
        assert response.status_code == 200, source
        response.close()


def test_the_icon(client: Client):
    """Browsers ask for it whatever page they show."""
    icon = client.get("/favicon.ico")
    response = client.get(icon["Location"])

    assert response.status_code == 200
    assert response["Content-Type"] == "image/png"
    response.close()


def test_static_files(db, client: Client):
    """Static files need no other server."""
    response = client.get("/static/admin/css/base.css")

    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/css")
    response.close()


def test_unknown_paths(client: Client, subtests: pytest.Subtests):
    """What does not exist is a 404."""
    for path in ("/api/nothing/", "/nothing"):
        with subtests.test(path=path):
            assert client.get(path).status_code == 404


def test_default_deny(client: Client):
    """Every REST endpoint that does not say otherwise wants a token."""
    assert client.get("/api/users/me/").status_code == 401


def test_the_servers_entry_points():
    """Gunicorn and Daphne find what the settings name."""
    from backend.asgi import application as asgi
    from backend.wsgi import application as wsgi

    assert set(asgi.application_mapping) == {"http", "lifespan", "websocket"}
    assert callable(wsgi)
