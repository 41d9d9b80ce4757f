"""The routes that belong to no app."""

import io
import re

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client


def test_home(client: Client):
    """The root leads to the documentation of the API."""
    response = client.get("/")

    assert response.status_code == 302
    assert response["Location"] == "/api/docs/"


def test_the_schema_has_no_warnings():
    """Every endpoint is described well enough for drf-spectacular not to guess."""
    output = io.StringIO()

    call_command("spectacular", validate=True, fail_on_warn=True, stdout=output)

    assert "/api/users/me/" in output.getvalue()


def test_the_schema_speaks_of_this_project(client: Client):
    """Title and description are the project's own, letter for letter."""
    info = client.get("/api/schema/", {"format": "json"}).json()["info"]

    assert info["title"] == settings.PROJECT_TITLE
    assert info["description"] == settings.PROJECT_DESCRIPTION


@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_documentation_pages(db, client: Client, path: str):
    """The pages load everything from this server, and it is there."""
    page = client.get(path).text

    sources = re.findall(r"""(?:src|href|spec-url)=["']([^"']+)""", page)
    assert any("/static/" in source for source in sources)
    for source in sources:
        assert source.startswith("/")
        response = client.get(source.replace("&amp;", "&"))
        assert response.status_code == 200
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


@pytest.mark.parametrize("path", ["/api/nothing/", "/nothing"])
def test_unknown_paths(client: Client, path: str):
    """What does not exist is a 404."""
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
