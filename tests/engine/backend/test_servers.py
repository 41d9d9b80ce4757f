"""What servers ask of the application, and what they say when they cannot start."""

import asyncio
import errno
import socket
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.routing import get_default_application
from realtime.other_servers import Closing
from realtime.server import cannot_listen


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.EADDRINUSE, ""),
            (
                "Port 8000 of 127.0.0.1 is taken: stop what listens there, or choose another with "
                "port=8001"
            ),
        ),
        (
            OSError(errno.EACCES, ""),
            "Port 8000 of 127.0.0.1 is not for everyone: choose one above 1023 with port=8000",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, ""),
            "127.0.0.1 is no address of this machine: 127.0.0.1 is, and 0.0.0.0 is all",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, ""),
            "127.0.0.1 is no address of this machine: 127.0.0.1 is, and 0.0.0.0 is all",
        ),
        (OverflowError("too large"), "Nothing can listen on port 8000 of 127.0.0.1: too large"),
    ],
)
def test_why_nothing_can_listen(error: Exception, sentence: str):
    """Each reason has its way out."""
    assert cannot_listen(error, "127.0.0.1", 8000, "port=") == sentence


async def test_lifespan(hub):
    """Servers that tell of their start and end get an answer to both."""
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    server = ApplicationCommunicator(get_default_application(), scope)

    await server.send_input({"type": "lifespan.startup"})
    assert await server.receive_output() == {"type": "lifespan.startup.complete"}
    await server.send_input({"type": "lifespan.shutdown"})
    assert await server.receive_output() == {"type": "lifespan.shutdown.complete"}
    await server.wait()


async def test_a_close_while_the_consumer_waits():
    """The wait for a message ends first, and the consumer hears of the end all the same."""
    lock = asyncio.Lock()
    closed = asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        async with lock:
            await closed.wait()
        return {"type": "websocket.disconnect", "code": 4401}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            # As in Granian, which closes once nobody waits.
            async with lock:
                closed.set()
        sent.append(message)

    async def consumer(scope: Any, receive: Any, send: Any) -> None:
        async def end() -> None:
            await send({"type": "websocket.send", "text": "{}"})
            await send({"type": "websocket.close", "code": 4401})

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(end())
            assert (await receive())["type"] == "websocket.disconnect"

    async with asyncio.timeout(10):
        await Closing(consumer)({"type": "websocket"}, receive, send)

    assert [message["type"] for message in sent] == ["websocket.send", "websocket.close"]


async def test_a_consumer_that_is_cancelled():
    """A server that gives up on a consumer ends its wait as well."""
    waits = asyncio.Event()

    async def receive() -> Any:
        waits.set()
        await asyncio.Event().wait()

    async def consumer(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    sent: Any = None
    running = asyncio.ensure_future(Closing(consumer)({"type": "websocket"}, receive, sent))
    await waits.wait()
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
