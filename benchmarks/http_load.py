"""Requests to the API at a rate, or as fast as they are answered if that is slower.

    python http_load.py PORT CONNECTIONS RATE TOKEN

It ends with its standard input, and then prints how many requests were answered in how long.
"""

import asyncio
import json
import sys
import time


async def ask(port: int, token: str, pause: float, answered: list[int]) -> None:
    """Send requests over one connection; anything but 200 is an error.

    Args:
        port: where the API is.
        token: an access token.
        pause: seconds from one request to the next.
        answered: where answers are counted.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["GET /api/users/me/ HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}"]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    due = time.monotonic()
    while True:
        due = max(due + pause, time.monotonic() - pause)
        await asyncio.sleep(due - time.monotonic())
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status, _, fields = head.partition("\r\n")
        if " 200 " not in status:
            raise RuntimeError(f"the API answers {status}")
        length = next(line for line in fields.splitlines() if line.startswith("content-length:"))
        await reader.readexactly(int(length.partition(":")[2]))
        answered[0] += 1


async def main(port: int, connections: int, rate: float, token: str) -> None:
    """Ask until standard input ends."""
    answered, began = [0], time.monotonic()
    pause = connections / rate
    asking = [asyncio.create_task(ask(port, token, pause, answered)) for _ in range(connections)]
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([*asking, ended], return_when=asyncio.FIRST_COMPLETED)
    for task in asking:
        if task.done():
            await task
        task.cancel()
    print(json.dumps({"answered": answered[0], "seconds": time.monotonic() - began}), flush=True)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
