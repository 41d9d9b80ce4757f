"""A client of Server-Sent Events: one request whose answer has no end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# Bytes that the client holds at most without having read them, and those of a line.
LIMIT = 128 * 1024


class RefusedAnswer(Exception):
    """The server answered with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered with {status}")
        #: What a socket would be closed with; a fault of the server is 1011 there.
        self.code = 1011 if status >= 500 else 4000 + status


class Event(NamedTuple):
    """One event: its position if it has one, its kind ("message" if not said) and its data."""

    id: str
    kind: str
    data: dict[str, Any]


class EventSource:
    """An answer of Server-Sent Events that is being read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer  # Closes the connection once nobody has it any more.
        self.transport = writer.transport

    @classmethod
    async def open(
        cls, server: str, name: str, token: str, position: str = "", **options: Any
    ) -> "EventSource":
        """Ask for a stream, and read the head of the answer.

        Args:
            server: the address, such as ws://127.0.0.1:8000.
            name: the name of the stream.
            token: an access token.
            position: what the answer continues, as `Last-Event-ID` says it.
            options: for the connection.

        Raises:
            RefusedAnswer: with another status than 200.
            OSError, EOFError: there is nobody, or not until the end of the head.
        """
        address = urlsplit(server)
        if "sock" not in options:
            options |= {"host": address.hostname, "port": address.port}
        reader, writer = await asyncio.open_connection(limit=LIMIT, **options)
        source = cls(reader, writer)
        head = [
            f"GET /api/streams/{name}/ HTTP/1.1",
            f"Host: {address.netloc}",
            "Accept: text/event-stream",
            f"Authorization: Bearer {token}",
            *([f"Last-Event-ID: {position}"] if position else []),
        ]
        try:
            writer.write("".join(f"{line}\r\n" for line in [*head, ""]).encode())
            status = int((await source._line()).split()[1])
            headers = [line.lower() async for line in source._lines_of_head()]
            if status != 200:
                raise RefusedAnswer(status)
            assert "transfer-encoding: chunked" in headers, headers
            assert any(line.startswith("content-type: text/event-stream") for line in headers)
        except BaseException:
            source.transport.abort()
            raise
        return source

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Give the events, until the answer ends.

        Raises:
            OSError, EOFError: the connection ended before the answer.
        """
        fields = {"id": "", "event": "message", "data": ""}
        async for line in self._lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if fields["data"]:
                    yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {"id": "", "event": "message", "data": ""}

    async def read(self, reads: asyncio.Event, take: Callable[[Event], None]) -> int:
        """Take events until the end, each when `reads` is set; return the close code.

        A connection that breaks has 1006, as a socket would have.
        """
        code = 1006
        try:
            events = aiter(self)
            while True:
                await reads.wait()
                event = await anext(events)
                if event.kind == "close":
                    code = event.data["code"]
                else:
                    take(event)
        except (OSError, EOFError, StopAsyncIteration):
            return code
        finally:
            self.transport.abort()

    async def close(self) -> None:
        """Close the connection, as a page does that goes away."""
        self.transport.close()

    async def _lines(self) -> AsyncIterator[str]:
        begun = b""
        while chunk := await self._chunk():
            *lines, begun = (begun + chunk).split(b"\n")
            for line in lines:
                yield line.decode()

    async def _chunk(self) -> bytes:
        chunk = await self._reader.readexactly(int(await self._line(), 16))
        await self._line()
        return chunk

    async def _lines_of_head(self) -> AsyncIterator[str]:
        while line := await self._line():
            yield line

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection has ended")
        return line[:-2].decode()
