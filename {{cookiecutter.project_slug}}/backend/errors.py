"""What a request is answered that cannot be served: below `/api/` always JSON with a `detail`."""

import logging
from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler

logger = logging.getLogger(__name__)


class BodyTooLarge(APIException):
    """The body has more than `DATA_UPLOAD_MAX_MEMORY_BYTES`."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body of the request is too large."
    default_code = "too_large"


class Unavailable(APIException):
    """Another transaction was in the way for too long, or the database is away."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The database is busy or does not answer. Try again."
    default_code = "unavailable"
    # Seconds, for the header `Retry-After`.
    wait = 1


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an exception of a REST view, or return None where it is a fault of the server."""
    if isinstance(error, RequestDataTooBig):
        error = BodyTooLarge()
    elif isinstance(error, OperationalError | InterfaceError) and not _is_sql_error(error):
        logger.warning("%s cannot be served: %r", context["request"].path, error)
        error = Unavailable()
    return exception_handler(error, context)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that no view was asked about: to a wrong host, for instance."""
    return _answer(request, 400, "Bad request.", defaults.bad_request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request for a path that is not there."""
    return _answer(request, 404, "Not found.", defaults.page_not_found, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request that ended in a fault of the server."""
    return _answer(request, 500, "A fault of the server.", defaults.server_error)


def _is_sql_error(error: Exception) -> bool:
    """Return whether SQLite means a wrong statement; elsewhere that is another class of error."""
    return getattr(error.__cause__, "sqlite_errorname", None) == "SQLITE_ERROR"


def _answer(
    request: HttpRequest, code: int, detail: str, page: Callable[..., HttpResponse], *args: Any
) -> HttpResponse:
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": detail}, status=code)
    return page(request, *args)
