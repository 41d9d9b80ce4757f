"""A client of streams over HTTP, as the tests use it."""

import json
from typing import Any
from urllib.parse import urlencode

from asgiref.testing import ApplicationCommunicator
from channels.routing import get_default_application

from .frames_schema import check_frame
from .sockets import PATIENCE


class Waiter:
    """A client whose request stays open."""

    def __init__(
        self,
        token: str,
        path: str = "/api/streams/realtime/",
        *,
        method: str = "GET",
        **query: Any,
    ) -> None:
        self.query, self.path, self.token, self.method = query, path, token, method
        self.headers: dict[str, str] = {}
        self.text = ""

    async def ask(self, **headers: str) -> int:
        """Send the request and return the status of the answer."""
        headers = {"authorization": f"Bearer {self.token}", "host": "testserver", **headers}
        self.communicator = ApplicationCommunicator(
            get_default_application(),
            {
                "type": "http",
                "method": self.method,
                "path": self.path,
                "query_string": urlencode(self.query).encode(),
                "headers": [
                    (name.replace("_", "-").encode(), value.encode())
                    for name, value in headers.items()
                ],
            },
        )
        await self.communicator.send_input({"type": "http.request", "body": b""})
        start = await self.communicator.receive_output(PATIENCE)
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return start["status"]

    async def json(self) -> Any:
        """Return the rest of an answer that ends."""
        return json.loads(await self.body())

    async def body(self) -> str:
        """Return the text of an answer that ends."""
        while await self._more():
            pass
        await self.communicator.wait(PATIENCE)
        return self.text

    async def event(self) -> dict[str, Any]:
        """Return the next of the Server-Sent Events: its id, type and data."""
        while "\n\n" not in self.text:
            await self._more()
        block, _, self.text = self.text.partition("\n\n")
        if block == ":":
            return await self.event()
        if block.startswith("event: close"):
            await self.communicator.wait(PATIENCE)
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        if "event" not in fields:
            check_frame(fields["data"])
        return fields | {"data": json.loads(fields["data"])}

    async def leave(self) -> None:
        """Go away."""
        await self.communicator.send_input({"type": "http.disconnect"})
        await self.communicator.wait(PATIENCE)

    async def _more(self) -> bool:
        body = await self.communicator.receive_output(PATIENCE)
        self.text += body["body"].decode()
        return body.get("more_body", False)


async def events_of(
    token: str, path: str = "/api/streams/realtime/", **headers: str
) -> tuple[Waiter, dict[str, Any]]:
    """Return a client of Server-Sent Events that has had its first one, and that one."""
    client = Waiter(token, path)
    assert await client.ask(accept="text/event-stream", **headers) == 200
    return client, await client.event()
