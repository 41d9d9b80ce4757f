"""Health probes: `/livez` says that the process answers, `/readyz` that it can do its work."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from .redis_urls import Pool

#: How long `/readyz` waits for all of its checks together.
READY_TIMEOUT_SECONDS = 3

# A check that hangs keeps its thread, so a few of them are all that can ever hang.
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="readyz")


class HealthMiddleware:
    """Answers the probes before anything looks at the host name or the scheme of a request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/livez":
            return JsonResponse({"status": "ok"})
        if request.path == "/readyz":
            return readiness()
        return self.get_response(request)


def readiness() -> JsonResponse:
    """Return 200 where the database and, if configured, each Redis answer in time, else 503."""
    checks: dict[str, Callable[[], object]] = {"database": check_database}
    if settings.REDIS_URLS:
        checks["redis"] = check_redis
    deadline = monotonic() + READY_TIMEOUT_SECONDS
    running = {name: _threads.submit(check) for name, check in checks.items()}
    answers = {}
    for name, future in running.items():
        try:
            future.result(timeout=max(0, deadline - monotonic()))
            answers[name] = "ok"
        except TimeoutError:
            future.cancel()
            answers[name] = f"no answer within {READY_TIMEOUT_SECONDS} s"
        except Exception as error:  # the kind alone: the message may name hosts and users
            answers[name] = type(error).__name__
    is_ready = all(answer == "ok" for answer in answers.values())
    status = "ok" if is_ready else "unavailable"
    return JsonResponse({"status": status, **answers}, status=200 if is_ready else 503)


def check_database() -> None:
    """Run a query on a connection of this thread's own; raises what the database raises."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def check_redis() -> None:
    """Ping every configured Redis; raises what the client raises."""
    for url in settings.REDIS_URLS:
        pool = Pool.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        with redis.Redis.from_pool(pool) as client:
            client.ping()
