"""A channel layer for the tests of faults: it crosses threads, and fails when it is told to."""

import asyncio
from typing import Any, ClassVar


class UnreliableLayer:
    """The part of the channel-layer API that realtime uses, shared by all loops of the process."""

    queues: ClassVar[dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Any]]]] = {}
    groups: ClassVar[dict[str, set[str]]] = {}
    #: What to do with messages: "deliver", "lose" them, or "fail" at every call.
    mood: ClassVar[str] = "deliver"
    #: How many calls have failed.
    refused: ClassVar[int] = 0

    def __init__(self) -> None:
        self.own: set[str] = set()

    @classmethod
    def forget(cls) -> None:
        """Start anew."""
        cls.queues, cls.groups, cls.mood, cls.refused = {}, {}, "deliver", 0

    async def new_channel(self, prefix: str) -> str:
        """Make a channel of the running loop."""
        self._fail()
        channel = f"{prefix}{len(self.queues)}"
        self.queues[channel] = (asyncio.get_running_loop(), asyncio.Queue())
        self.own.add(channel)
        return channel

    async def receive(self, channel: str) -> Any:
        """Wait for a message."""
        return await self.queues[channel][1].get()

    async def send(self, channel: str, message: Any) -> None:
        """Deliver a message, or lose it."""
        self._fail()
        if self.mood == "deliver" and channel in self.queues:
            loop, queue = self.queues[channel]
            loop.call_soon_threadsafe(queue.put_nowait, message)

    async def group_add(self, group: str, channel: str) -> None:
        """Let a channel hear a group."""
        self._fail()
        self.groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Let a channel hear a group no more."""
        self._fail()
        self.groups[group].discard(channel)

    async def group_send(self, group: str, message: Any) -> None:
        """Send a message to every channel of a group."""
        self._fail()
        for channel in set(self.groups.get(group, ())):
            await self.send(channel, message)

    async def flush(self) -> None:
        """Forget the channels that this layer has made."""
        for channel in self.own:
            self.queues.pop(channel, None)

    def _fail(self) -> None:
        if self.mood == "fail":
            type(self).refused += 1
            raise ConnectionError("the layer was told to fail")
