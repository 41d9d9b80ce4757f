"""The rows of open sockets: the cap per user, and how they heal."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError{% if cookiecutter.database == "postgresql" %}, transaction{% endif %}
from django.utils import timezone

from accounts.tokens import InvalidToken
from realtime import connections
from realtime.database import in_database
from realtime.models import Connection, Process, UserStream

from .sockets import PATIENCE, Client

pytestmark = pytest.mark.django_db(transaction=True)


async def until(condition):
    """Wait until a query says that something has come true."""
    async with asyncio.timeout(PATIENCE):
        while not await in_database(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
def dead_process(user):
    """A process that was killed a while ago, and the row of a socket that it had."""
    seen_at = timezone.now() - timedelta(minutes=1)
    process = Process.objects.create(pk=uuid4(), seen_at=seen_at)
    Connection.objects.create(
        pk=uuid4(), process=process, user=user, stream=f"realtime.userstream.{user.pk}"
    )
    return process


async def test_an_open_socket_has_a_row(user, access_token, hub):
    """It says who follows what in which process, and goes with the socket."""
    client = Client(token=access_token)
    await client.ready()

    row = await Connection.objects.aget()
    assert (row.user_id, row.stream) == (user.pk, f"realtime.userstream.{user.pk}")
    assert row.process_id == hub.connections.process

    await client.disconnect()
    await until(lambda: not Connection.objects.exists())


def test_a_key_with_a_dot():
    """What a group names as its stream's model stands before the key, whatever that is."""
    assert connections._model(UserStream.group_of("1.2")) is UserStream


async def test_a_user_has_so_many_sockets_and_no_more(access_token, hub, settings):
    """One more closes with 4429, however close together they come; a free place is used again."""
    settings.REALTIME_SOCKETS_PER_USER = 3
    clients = [Client(token=access_token) for _ in range(5)]
    await asyncio.gather(*(client.connect() for client in clients))
    outputs = [await client.communicator.receive_output(PATIENCE) for client in clients]

    opened = [
        client
        for client, output in zip(clients, outputs, strict=True)
        if output["type"] == "websocket.send"
    ]
    assert len(opened) == 3
    assert [output["code"] for output in outputs if "code" in output] == [4429, 4429]

    await opened[0].disconnect()
    await until(lambda: Connection.objects.count() == 2)
    again = Client(token=access_token)
    await again.ready()
    for client in (*opened[1:], again):
        await client.disconnect()


async def test_the_sockets_of_other_processes_count(user, access_token, hub, settings):
    """The cap holds across processes."""
    settings.REALTIME_SOCKETS_PER_USER = 1
    process = await Process.objects.acreate(pk=uuid4(), seen_at=timezone.now())
    await Connection.objects.acreate(pk=uuid4(), process=process, user=user, stream="x")
    client = Client(token=access_token)
    await client.connect()

    assert await client.close_code() == 4429


async def test_the_sockets_of_a_dead_process_do_not_count(
    quick_tick, dead_process, access_token, hub, settings
):
    """Rows of a killed process neither take up room nor stay."""
    settings.REALTIME_SOCKETS_PER_USER = 1
    client = Client(token=access_token)

    await client.ready()

    await until(lambda: not Process.objects.filter(pk=dead_process.pk).exists())
    assert await Connection.objects.acount() == 1
    await client.disconnect()


@pytest.mark.parametrize("noticed_by", ["the tick", "the next socket"])
async def test_a_process_that_was_taken_for_dead_comes_back(access_token, hub, no_tick, noticed_by):
    """A process that could not reach the database for long writes its rows again."""
    client, other = Client(token=access_token), Client(token=access_token)
    await client.ready()
    await Process.objects.all().adelete()

    if noticed_by == "the tick":
        hub.connections.refresh()
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


def test_the_admin_pages_show_who_is_connected(admin_client, admin_user, dead_process):
    """Staff see the open sockets of all processes, and nothing of those that were killed."""
    process = Process.objects.create(pk=uuid4(), seen_at=timezone.now())
    Connection.objects.create(pk=uuid4(), process=process, user=admin_user, stream="chat.room.7")

    page = admin_client.get("/admin/realtime/connection/").text

    assert "chat.room.7" in page
    assert "realtime.userstream." not in page


async def test_the_end_of_a_hub_leaves_no_row(access_token, hub):
    """A process that stops takes its rows with it."""
    client = Client(token=access_token)
    await client.ready()

    await hub.connections.close()

    assert not await Connection.objects.aexists()
    assert not await Process.objects.aexists()
    await client.disconnect()


async def test_who_goes_while_waiting_leaves_no_row(user, hub):
    """A socket that ends before it has its row does not get one for good."""
    stream = await UserStream.objects.acreate(user=user)
    waiting = asyncio.create_task(hub.connections.enter(object(), user.pk, 0, stream))
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await hub.connections.enter("a socket", user.pk, 0, stream)
    await until(lambda: Connection.objects.count() == 1)
    hub.connections.leave("a socket")
    await until(lambda: not Connection.objects.exists())


async def test_a_user_who_is_gone_gets_no_row(user, hub):
    """A user may be deleted between the token's check and the row."""
    stream = UserStream(user=user)
    await type(user).objects.all().adelete()

    with pytest.raises(InvalidToken):
        await hub.connections.enter("a socket", user.pk, 0, stream)


async def test_a_database_that_fails_fails_the_socket_and_nothing_else(
    user, access_token, hub, monkeypatch
):
    """Who arrives is told, who leaves is forgotten a little later."""
    stream = await UserStream.objects.acreate(user=user)
    assert await hub.connections.enter("a socket", user.pk, 0, stream)
    update = connections._update

    def fail(*args):
        raise OperationalError("the database is away")

    monkeypatch.setattr(connections, "_update", fail)
    hub.connections.leave("a socket")
    with pytest.raises(OperationalError):
        await hub.connections.enter("another", user.pk, 0, stream)

    monkeypatch.setattr(connections, "_update", update)
    hub.connections.refresh()
    await until(lambda: not Connection.objects.exists())
{%- if cookiecutter.database == "postgresql" %}


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
    waiting = asyncio.create_task(hub.connections.enter("mine", user.pk, 0, mine))
    assert await hub.connections.enter("theirs", other_user.pk, 0, stream)
    assert not waiting.done()

    if released:
        free.set()
        assert await waiting
    else:
        with pytest.raises(connections.StreamBusy):
            await waiting
        free.set()
    await holding
{%- endif %}
