"""The pool: it serves forked children too, and asks its connections only in doubt."""

import asyncio
import os
from unittest.mock import Mock

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from realtime import database
from realtime.tests.sockets import PATIENCE


@pytest.mark.parametrize(("seconds", "checks"), [(0, 2), (60, 0)])
def test_a_connection_that_has_just_worked_is_not_checked(
    transactional_db, monkeypatch, seconds, checks
):
    """One that has been idle is, before its next query."""
    monkeypatch.setattr(database, "HEALTHY_SECONDS", seconds)
    database._with_connections(get_user_model().objects.count)
    is_usable = Mock(return_value=True)
    monkeypatch.setattr(connection, "is_usable", is_usable)

    for _ in range(2):
        database._with_connections(get_user_model().objects.count)

    assert is_usable.call_count == checks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_a_pool_of_its_own(transactional_db):
    """Its parent's threads are not there to do its work."""

    async def ask() -> int:
        async with asyncio.timeout(PATIENCE):
            return await database.in_database(os.getpid)

    asyncio.run(ask())
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(asyncio.run(ask()) == os.getpid()).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)

    assert os.read(read, 100) == b"True"
    os.close(read)
