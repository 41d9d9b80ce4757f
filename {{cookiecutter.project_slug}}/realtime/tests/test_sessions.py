"""The rows of open sockets: the cap per user, and how they heal."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from realtime.models import Connection, Process, UserStream

from .sockets import PATIENCE, Client, until

pytestmark = pytest.mark.django_db(transaction=True)


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
    assert row.process_id == hub.sessions.process

    await client.disconnect()
    await until(lambda: not Connection.objects.exists())


async def test_a_row_of_a_removed_stream_keeps_no_other(user, access_token, hub):
    """What a dead process leaves behind is cleaned up, whatever stream models are gone since."""
    client = Client(token=access_token)
    await client.ready()
    process = await Process.objects.acreate(pk=uuid4(), seen_at=timezone.now() - timedelta(hours=1))
    for group in ("parcels.parcel.1", "accounts.user.1", "nonsense", UserStream.group_of(user.pk)):
        await Connection.objects.acreate(pk=uuid4(), process=process, user=user, stream=group)

    hub.sessions.refresh()

    await until(lambda: Process.objects.count() == 1)
    assert await Connection.objects.acount() == 1
    await client.disconnect()


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


def test_the_admin_pages_show_who_is_connected(admin_client, admin_user, dead_process):
    """Staff see the open sockets of all processes, and nothing of those that were killed."""
    process = Process.objects.create(pk=uuid4(), seen_at=timezone.now())
    Connection.objects.create(pk=uuid4(), process=process, user=admin_user, stream="chat.room.7")

    page = admin_client.get("/admin/realtime/connection/").text

    assert "chat.room.7" in page
    assert "realtime.userstream." not in page
