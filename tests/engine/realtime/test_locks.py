"""Rows that another transaction holds, where a database locks rows and not the whole file."""

import asyncio

import pytest
from django.db import connection, transaction
from realtime import retention
from realtime.database import in_database
from realtime.models import UserStream
from realtime.notification import notify_user
from realtime.streams import StreamBusy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("released", [True, False])
async def test_nobody_waits_for_another_users_lock(user, other_user, hub, settings, released):
    """A user whose row is locked waits a while; everyone else connects at once."""
    settings.REALTIME_LOCK_TIMEOUT_SECONDS = 0.5
    free = asyncio.Event()
    loop, held = asyncio.get_running_loop(), asyncio.Event()

    def hold():
        with transaction.atomic():
            type(user).objects.select_for_update().get(pk=user.pk)
            loop.call_soon_threadsafe(held.set)
            asyncio.run_coroutine_threadsafe(free.wait(), loop).result()

    holding = asyncio.create_task(in_database(hold))
    await held.wait()
    stream = await UserStream.objects.acreate(user=other_user)
    mine = UserStream(user=user)
    waiting = asyncio.create_task(hub.sessions.enter("mine", user.pk, 0, mine))
    assert await hub.sessions.enter("theirs", other_user.pk, 0, stream)
    assert not waiting.done()

    if released:
        free.set()
        assert await waiting
    else:
        with pytest.raises(StreamBusy):
            await waiting
        free.set()
    await holding


def test_a_transaction_that_cannot_be_serialized_is_busy(user, at_once):
    """Who has asked for more isolation is told to try again, as after a wait that took too long."""
    notify_user(user.pk, {"n": 1})

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1")
        at_once(lambda: notify_user(user.pk, {"n": 2}))
        with pytest.raises(StreamBusy):
            notify_user(user.pk, {"n": 3})


def test_the_bound_is_that_of_the_transaction(user):
    """It ends with it: behind a pooler the connection is then somebody else's."""
    with transaction.atomic():
        notify_user(user.pk, {"n": 1})
        bounded = lock_timeout()

    assert (bounded, lock_timeout()) == ("2500ms", "0")


def lock_timeout():
    """Return the database's setting."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return cursor.fetchone()[0]


def test_trimming_goes_on_where_a_stream_is_held(user, other_user, held, short_lock_timeout):
    """The others are trimmed now, and the one that somebody writes to the next time."""
    for user_id in (user.pk, other_user.pk, user.pk, other_user.pk):
        notify_user(user_id, {"n": 1})

    with held(lambda: notify_user(user.pk, {"n": 2})):
        assert retention.trim(UserStream, days=None, entries=1, batch=100) == (1, 1)

    assert retention.trim(UserStream, days=None, entries=1, batch=100) == (2, 1)
