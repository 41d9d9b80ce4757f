"""Fixtures for streams and sockets."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction


@pytest.fixture
def held():
    """A context in which another thread's transaction has done something and stays open."""

    @contextmanager
    def held(work: Callable[[], object]) -> Iterator[None]:
        done, release = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic():
                work()
                done.set()
                release.wait(30)
            connection.close()

        thread = threading.Thread(target=hold)
        thread.start()
        done.wait(30)
        try:
            yield
        finally:
            release.set()
            thread.join()

    return held


@pytest.fixture
def short_lock_timeout(db):
    """Let this thread's connection wait for a lock for 50 ms only."""
    statement = {
        "sqlite": "PRAGMA busy_timeout = 50",
        "postgresql": "SET lock_timeout = '50ms'",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(statement)
    yield
    connection.close()


@pytest.fixture
def quick_tick(settings):
    """Let the repair tick come often; to be named before `hub`, which reads it first."""
    settings.REALTIME_TICK_SECONDS = 0.05


@pytest.fixture
def no_tick(settings):
    """Put off the repair tick, so that only hints can deliver; to be named before `hub`."""
    settings.REALTIME_TICK_SECONDS = 3600
