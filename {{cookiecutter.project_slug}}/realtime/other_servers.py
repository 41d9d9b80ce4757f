"""What other ASGI servers than this project's Daphne ask of an application."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .connection import Receive, Scope, Send
from .hub import Hub


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start without further ado, and leave no rows of sockets behind in the end."""
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await Hub.current().close()
    await send({"type": "lifespan.shutdown.complete"})


class Closing:
    """Lets a socket be closed while its consumer waits for a message.

    Granian sends no close frame before that wait has ended: `close` in its src/asgi/io.rs wants the
    lock that `receive` holds.
    """

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket."""
        if "realtime.direct" in scope.get("extensions", {}):
            await self.application(scope, receive, send)
            return
        waiting: asyncio.Future[dict[str, Any]] | None = None
        closing, closed = asyncio.Event(), asyncio.Event()

        async def receive_or_close() -> dict[str, Any]:
            nonlocal waiting
            if not closing.is_set():
                waiting = asyncio.ensure_future(receive())
                try:
                    return await waiting
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is None or task.cancelling() or not closing.is_set():
                        raise
            await closed.wait()
            return await receive()

        async def send_or_close(message: dict[str, Any]) -> None:
            if message["type"] != "websocket.close":
                await send(message)
                return
            closing.set()
            if waiting is not None:
                waiting.cancel()
            try:
                await send(message)
            finally:
                closed.set()

        await self.application(scope, receive_or_close, send_or_close)
