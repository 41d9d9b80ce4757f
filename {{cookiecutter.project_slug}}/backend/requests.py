"""Requests whose text is UTF-8, whatever charset their Content-Type claims.

Django decodes with any codec that Python has: with zlib each query is a fault of the server, and a
megabyte of JSON takes half a minute with Punycode.
"""

import os
from typing import IO, Any

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest


class Utf8:
    """Forgets what charset a request claims, so that Django's default holds."""

    encoding: Any = property(lambda self: None, lambda self, claimed: None)


class Utf8ASGIRequest(Utf8, ASGIRequest):
    """A request that came to Daphne, which has a length even if its body was sent in chunks.

    REST framework would take a body without a length for none.
    """

    def __init__(self, scope: dict[str, Any], body_file: IO[bytes]) -> None:
        super().__init__(scope, body_file)
        self.META.setdefault("CONTENT_LENGTH", str(body_file.seek(0, os.SEEK_END)))
        body_file.seek(0)


class Utf8WSGIRequest(Utf8, WSGIRequest):
    """A request that came to Gunicorn."""
