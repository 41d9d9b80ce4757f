"""Rows that another transaction holds, where a database locks rows and not the whole file."""

import asyncio

import pytest
from django.db import transaction
from realtime.database import in_database
from realtime.models import UserStream
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
