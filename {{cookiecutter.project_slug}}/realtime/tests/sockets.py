"""A client of the ASGI application, as the tests use it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from channels.routing import get_default_application
from channels.testing import WebsocketCommunicator

from realtime.bus import layer_is_local
from realtime.database import in_database
from realtime.hub import Hub

from .frames_schema import check_frame

# Seconds to wait for what must come: generous, since it is only ever spent when a test fails.
PATIENCE = 10


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a query says that something has come true."""
    async with asyncio.timeout(PATIENCE):
        while not await in_database(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(token: str) -> "AsyncIterator[Client]":
    """An open socket on `/ws/realtime/`, for as long as the block lasts."""
    client = Client(token=token)
    await client.ready()
    yield client
    await client.disconnect()


class Client:
    """One connection; every frame it receives is checked against `asyncapi.yaml`."""

    def __init__(
        self,
        path: str = "/ws/realtime/",
        *,
        subprotocols: list[str] | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
        **query: Any,
    ) -> None:
        self.communicator = WebsocketCommunicator(
            get_default_application(),
            f"{path}?{urlencode(query)}",
            headers=headers,
            subprotocols=subprotocols,
        )

    async def connect(self) -> str | None:
        """Connect and return the chosen subprotocol."""
        accepted, subprotocol = await self.communicator.connect(PATIENCE)
        assert accepted
        return subprotocol

    async def ready(self) -> dict[str, Any]:
        """Connect and return the first frame, once the channel layer would bring what follows."""
        await self.connect()
        event = await self.receive()
        assert event["type"] == "realtime.ready"
        async with asyncio.timeout(PATIENCE):
            await self._live(Hub.current())
        return event

    async def _live(self, hub: Hub) -> None:
        feeds = hub.feeds.values()
        while not all(one.is_live for feed in feeds for one in feed.followers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if layer_is_local():
            return
        receiver = hub.receiver
        while not all(receiver.has_joined(group) for group in hub.feeds):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # Redis has seen the subscription once it has answered what was sent after it.
        await receiver.probe()
        while receiver._probes_heard != receiver._probes_sent:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def receive(self) -> dict[str, Any]:
        """Return the next frame."""
        return check_frame(await self.communicator.receive_from(PATIENCE))

    async def send(self, **event: Any) -> None:
        """Send a frame."""
        await self.communicator.send_json_to(event)

    async def subscribe(self, stream: str, **position: Any) -> dict[str, Any]:
        """Subscribe to a stream and return the answer."""
        await self.send(type="realtime.subscribe", streams=[{"stream": stream, **position}])
        event = await self.receive()
        assert event["type"] == "realtime.subscribed", event
        async with asyncio.timeout(PATIENCE):
            await self._live(Hub.current())
        return event

    async def silent(self) -> bool:
        """Whether no further frame comes before the answer to a ping does."""
        await self.send(type="realtime.ping")
        return (await self.receive())["type"] == "realtime.pong"

    async def close_code(self) -> int:
        """Return the code with which the server closes next."""
        message = await self.communicator.receive_output(PATIENCE)
        assert message["type"] == "websocket.close", message
        return message["code"]

    async def disconnect(self) -> None:
        """Go away."""
        await self.communicator.disconnect(timeout=PATIENCE)
