"""The rows of open sockets: the cap per user, and how they heal."""

import asyncio
from datetime import timedelta

import pytest
from accounts.tokens import InvalidToken
from django.db import OperationalError
from django.utils import timezone
from realtime import sessions
from realtime.models import Connection, Process, UserStream
from realtime.tests.sockets import Client, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("noticed_by", ["the tick", "the next socket"])
async def test_a_process_that_was_taken_for_dead_comes_back(access_token, hub, no_tick, noticed_by):
    """A process that could not reach the database for long writes its rows again."""
    client, other = Client(token=access_token), Client(token=access_token)
    await client.ready()
    await Process.objects.all().adelete()

    if noticed_by == "the tick":
        hub.sessions.refresh()
        await until(lambda: Connection.objects.count() == 1)
    else:
        await other.ready()
        await until(lambda: Connection.objects.count() == 2)
        await other.disconnect()
    await client.disconnect()


async def test_a_tick_says_that_the_process_lives(quick_tick, access_token, hub):
    """One row of the process stands for all of its sockets."""
    client = Client(token=access_token)
    await client.ready()
    long_ago = timezone.now() - timedelta(seconds=15)
    await Process.objects.aupdate(seen_at=long_ago)

    await until(lambda: Process.objects.get().seen_at > long_ago)
    await client.disconnect()


async def test_the_end_of_a_hub_leaves_no_row(access_token, hub):
    """A process that stops takes its rows with it."""
    client = Client(token=access_token)
    await client.ready()

    await hub.sessions.close()

    assert not await Connection.objects.aexists()
    assert not await Process.objects.aexists()
    await client.disconnect()


async def test_who_goes_while_waiting_leaves_no_row(user, hub):
    """A socket that ends before it has its row does not get one for good."""
    stream = await UserStream.objects.acreate(user=user)
    waiting = asyncio.create_task(hub.sessions.enter(object(), user.pk, 0, stream))
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await hub.sessions.enter("a socket", user.pk, 0, stream)
    await until(lambda: Connection.objects.count() == 1)
    hub.sessions.leave("a socket")
    await until(lambda: not Connection.objects.exists())


async def test_a_user_who_is_gone_gets_no_row(user, hub):
    """A user may be deleted between the token's check and the row."""
    stream = UserStream(user=user)
    await type(user).objects.all().adelete()

    with pytest.raises(InvalidToken):
        await hub.sessions.enter("a socket", user.pk, 0, stream)


async def test_a_database_that_fails_fails_the_socket_and_nothing_else(
    user, access_token, hub, monkeypatch
):
    """Who arrives is told, who leaves is forgotten a little later."""
    stream = await UserStream.objects.acreate(user=user)
    assert await hub.sessions.enter("a socket", user.pk, 0, stream)
    update = sessions._update

    def fail(*args):
        raise OperationalError("the database is away")

    monkeypatch.setattr(sessions, "_update", fail)
    hub.sessions.leave("a socket")
    with pytest.raises(OperationalError):
        await hub.sessions.enter("another", user.pk, 0, stream)

    monkeypatch.setattr(sessions, "_update", update)
    hub.sessions.refresh()
    await until(lambda: not Connection.objects.exists())


async def test_a_commit_whose_answer_got_lost_locks_nobody_out(user, hub, monkeypatch):
    """What failed may be stored all the same; it is deleted when the database answers again."""
    stream = await UserStream.objects.acreate(user=user)
    update = sessions._update

    def commit_and_fail(*args):
        update(*args)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(sessions, "_update", commit_and_fail)
    with pytest.raises(OperationalError):
        await hub.sessions.enter("a socket", user.pk, 0, stream)
    assert await Connection.objects.acount() == 1

    monkeypatch.setattr(sessions, "_update", update)
    hub.sessions.refresh()
    await until(lambda: not Connection.objects.exists())
