"""What a request is answered that cannot be served: below `/api/` always JSON with a `detail`."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler


class BodyTooLarge(APIException):
    """The body has more than `DATA_UPLOAD_MAX_MEMORY_BYTES`."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body of the request is too large."
    default_code = "too_large"


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an exception of a REST view, or return None where it is a fault of the server."""
    if isinstance(error, RequestDataTooBig):
        error = BodyTooLarge()
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


def _answer(
    request: HttpRequest, code: int, detail: str, page: Callable[..., HttpResponse], *args: Any
) -> HttpResponse:
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": detail}, status=code)
    return page(request, *args)
