"""A TCP proxy that can turn into a black hole."""

import asyncio
import contextlib

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Forwards to a port of this machine, until it is told to swallow everything instead.

    A connection that was in the black hole stays in it: both ends believe that it is open, and
    nothing ever comes through. New connections are taken as long as the proxy runs.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._swallows = False
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.ended.wait() for connection in connections))

    def swallow(self) -> None:
        """Forward nothing more in either direction, and close nothing."""
        self._swallows = True
        for connection in self._connections:
            connection.swallowed = True

    def forward(self) -> None:
        """Forward what comes over new connections."""
        self._swallows = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        connection = Connection((reader, writer), target, self._swallows)
        self._connections.add(connection)
        await connection.run()
        self._connections.discard(connection)


class Connection:
    """A client's connection to the proxy, and the proxy's to the target."""

    def __init__(self, client: Stream, target: Stream, swallowed: bool) -> None:
        self._client = client
        self._target = target
        self.swallowed = swallowed
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Forward both ways until both ends have closed."""
        await asyncio.gather(
            self._pump(self._client[0], self._target[1]),
            self._pump(self._target[0], self._client[1]),
        )
        self.abort()
        self.ended.set()

    def abort(self) -> None:
        """Close both ends."""
        for _, writer in (self._client, self._target):
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not self.swallowed:
                    writer.write(data)
                    await writer.drain()
        if not self.swallowed:  # Else the other end is not told.
            writer.close()
