"""A TCP proxy that can turn into a black hole."""

import asyncio
import contextlib
from types import TracebackType


class Proxy:
    """Forwards to a port of this machine, until it is told to swallow everything instead.

    A connection that was in the black hole stays in it: both ends believe that it is open, and
    nothing ever comes through. New connections are taken as long as the proxy runs.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._swallows = False
        self._connections: dict[asyncio.Task[None], asyncio.Event] = {}

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def swallow(self) -> None:
        """Forward nothing more in either direction, and close nothing."""
        self._swallows = True
        for swallowed in self._connections.values():
            swallowed.set()

    def forward(self) -> None:
        """Forward what comes over new connections."""
        self._swallows = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        swallowed = self._connections[task] = asyncio.Event()
        if self._swallows:
            swallowed.set()
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(_pump(reader, target_writer, swallowed))
                both_ways.create_task(_pump(target_reader, writer, swallowed))
        finally:
            del self._connections[task]
            for end in (writer, target_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowed: asyncio.Event
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            if not swallowed.is_set():
                writer.write(data)
                await writer.drain()
    if swallowed.is_set():
        return  # The other end is not told.
    with contextlib.suppress(OSError):
        writer.close()
