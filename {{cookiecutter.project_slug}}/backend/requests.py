"""Requests whose text is UTF-8, whatever charset their Content-Type claims.

Django decodes with any codec that Python has: with zlib each query is a fault of the server, and a
megabyte of JSON takes half a minute with Punycode.
"""

from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest


class Utf8:
    """Forgets what charset a request claims, so that Django's default holds."""

    encoding: Any = property(lambda self: None, lambda self, claimed: None)


class Utf8ASGIRequest(Utf8, ASGIRequest):
    """A request that came to Daphne."""


class Utf8WSGIRequest(Utf8, WSGIRequest):
    """A request that came to Gunicorn."""
