"""The text of a request is UTF-8."""

import io

import pytest
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory
from rest_framework.parsers import JSONParser
from rest_framework.request import Request

from backend import asgi, wsgi

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
def test_json(server: str):
    """JSON is read as what it must be."""
    body = '{"text": "é"}'.encode()

    assert parsed(request(server, "application/json; charset=latin-1", body)) == {"text": "é"}


def test_a_body_in_chunks():
    """A body whose length nobody has said is read all the same, and its size is bounded."""
    assert parsed(request("daphne", "application/json", b"[1]", chunked=True)) == [1]

    with pytest.raises(RequestDataTooBig):
        parsed(request("daphne", "application/json", b" " * 2_000_000, chunked=True))
