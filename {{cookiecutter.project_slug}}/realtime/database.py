"""Database work of the event loop, on threads of its own.

One slow query must not delay anybody else's socket: asgiref's thread-sensitive default runs
everything in one thread (https://github.com/django/channels/issues/2132). The pool is bounded, so
its connections may live as long as its threads: they cannot leak.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import Barrier
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import connections

# Seconds for which a connection that has just worked is taken to work.
HEALTHY_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")

_thread = threading.local()


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that uses the database on the pool of `REALTIME_DATABASE_THREADS` threads."""
    work = partial(_with_connections, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool(), work)


def close() -> None:
    """End the pool and its connections; the next call makes a new one."""
    pool = _pool()
    everyone = Barrier(pool._max_workers)

    def close_connections() -> None:
        everyone.wait(timeout=10)
        connections.close_all()

    for _ in range(pool._max_workers):
        pool.submit(close_connections)
    pool.shutdown()
    _pool.cache_clear()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.REALTIME_DATABASE_THREADS, "realtime-database")


if hasattr(os, "register_at_fork"):
    # A forked child has the pool, but none of its threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _with_connections(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    idle = time.monotonic() - getattr(_thread, "used_at", 0.0)
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
        # Django would ask the database whether it is there before each call: a query for a query.
        connection.health_check_done |= idle < HEALTHY_SECONDS  # type: ignore[attr-defined]
    try:
        return function(*args, **kwargs)
    finally:
        _thread.used_at = time.monotonic()
        for connection in connections.all(initialized_only=True):
            # CONN_MAX_AGE is 0 for the threads of requests, which come and go; these stay.
            connection.close_at = None
