"""Sockets of a test's own, one by one."""

import json
from typing import Any
from urllib.parse import urlencode

import websockets
from websockets.asyncio.client import ClientConnection

PATIENCE_SECONDS = 15


async def connect(
    url: str, path: str = "/ws/realtime/", *, subprotocols: Any = None, **query: Any
) -> ClientConnection:
    """Open a socket on a server, with these parameters in its address."""
    return await websockets.connect(
        f"{url}{path}?{urlencode(query)}",
        compression=None,
        proxy=None,
        ping_interval=None,
        subprotocols=subprotocols,
        open_timeout=PATIENCE_SECONDS,
        close_timeout=1,
    )


async def ready(url: str, **options: Any) -> ClientConnection:
    """Open a socket and read its first frame."""
    connection = await connect(url, **options)
    assert json.loads(await connection.recv())["type"] == "realtime.ready"
    return connection


async def close_code(connection: ClientConnection) -> int | None:
    """Read until the server closes, and return its code; nothing if there was none."""
    try:
        while True:
            await connection.recv()
    except websockets.ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
