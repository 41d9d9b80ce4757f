"""Says who has answered."""

import json

from django.core.handlers.asgi import ASGIRequest

SEEN = [
    "HTTP_FORWARDED",
    "HTTP_HOST",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
]


class SignedMiddleware:
    """Puts the kind of server, its address and the headers that a proxy sets into each answer."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        """Sign the answer."""
        response = self.get_response(request)
        response["X-Signed"] = json.dumps(
            {
                "server": "Daphne" if isinstance(request, ASGIRequest) else "Gunicorn",
                "address": request.META.get("SERVER_NAME"),
                "seen": {name: request.META[name] for name in SEEN if name in request.META},
            }
        )
        return response
