"""The text of a request is UTF-8."""

import io
import time

import pytest
from backend import asgi, wsgi
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request

SERVERS = pytest.mark.parametrize("server", ["daphne", "gunicorn"])


def request(
    server: str, content_type: str, body: bytes = b"", chunked: bool = False
) -> HttpRequest:
    """Make a request as the handler behind this server does."""
    path = "/?next=%2Fadmin%2F"
    if server == "daphne":
        scope = AsyncRequestFactory().post(path, body, "text/plain").scope
        length = (b"transfer-encoding", b"chunked")
        if not chunked:
            length = (b"content-length", b"%d" % len(body))
        headers = [(b"content-type", content_type.encode()), length]
        return asgi.http.request_class({**scope, "headers": headers}, io.BytesIO(body))
    environ = RequestFactory().post(path, body, "text/plain").environ
    return wsgi.application.request_class(environ | {"CONTENT_TYPE": content_type})


def parsed(request: HttpRequest) -> object:
    """Return the body of a request as a REST view gets it."""
    return Request(request, parsers=[JSONParser()]).data


@SERVERS
@pytest.mark.parametrize("charset", ["hex", "idna", "punycode", "undefined", "utf-16", "zlib"])
def test_a_query(server: str, charset: str):
    """A query is read, whatever the request says of a body that it does not even have."""
    assert request(server, f"text/plain; charset={charset}").GET["next"] == "/admin/"


@SERVERS
def test_a_body_that_takes_long_to_decode(server: str):
    """A megabyte of Punycode, half a minute's work, is refused at once."""
    body = b"-" + b"a9" * 500_000
    began = time.monotonic()

    with pytest.raises(ParseError):
        parsed(request(server, "application/json; charset=punycode", body))

    assert time.monotonic() - began < 10
