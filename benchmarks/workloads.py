"""What is measured: one `Workload` for each line of the table."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from processes import (
    BUILD,
    SERVER_CORE,
    cpu_seconds,
    free_port,
    generator,
    process,
    settled_private_bytes,
    wait_for_port,
)
from sides import USERS, Running

# A message has got lost if none has come for so long.
QUIET_SECONDS = "4"
BURST_SOCKETS, BURST_MESSAGES = 100, 2_000
# Connections that a new server handles before they are timed.
WARM_UP_CONNECTIONS = 100
SUBSCRIPTIONS = 50

Sample = dict[str, Any]
Measure = Callable[[Running, bool], Sample]


@dataclass
class Workload:
    """How it is measured, which figure of a sample counts, and what is wanted of it."""

    name: str
    title: str
    unit: str
    measure: Measure
    figure: str = "per_second"
    smaller_is_better: bool = False
    sides: tuple[str, ...] = ("rendered", "tutorial", "socketio")
    # Which of a side's servers.
    setup: str = "postgresql"
    # What the rendered server's figure shall be, as a multiple of a side's or other workload's.
    wanted: dict[str, float] = field(default_factory=dict)
    # The most that it may be, whatever others need.
    at_most: float | None = None


def fan_out(sockets: int, *, committed: bool = False) -> Measure:
    """Closed loop: a client sends a message to the room, and the next once all have it."""

    def measure(server: Running, quick: bool) -> Sample:
        frame = server.side.frame.replace("signal", "append") if committed else server.side.frame
        targets = server.targets(server.side.room, sockets)
        times = ["-w", "0.5", "-t", "1.5"] if quick else ["-w", "1", "-t", "5"]
        with generator(server.port, server.side.kind, "loop", targets, "-f", frame, *times) as seen:
            next(seen)
            before, since = cpu_seconds(server.pid), time.monotonic()
            sample = next(seen)
            busy = (cpu_seconds(server.pid) - before) / (time.monotonic() - since)
        return sample | {"server_cpu": round(busy, 3)}

    return measure


def subscribe(*streams: str) -> list[str]:
    """What has the generator subscribe to streams."""
    names = [{"stream": stream} for stream in streams]
    return ["-s", json.dumps({"type": "realtime.subscribe", "streams": names})]


def fan_out_to_subscriptions(sockets: int) -> Measure:
    """The same where the room is one of the streams on everybody's own socket."""

    def measure(server: Running, quick: bool) -> Sample:
        frame = server.side.frame.replace("}", ', "stream": "bench/1"}')
        targets = server.targets(server.side.user, sockets)
        times = ["-w", "0.5", "-t", "1.5"] if quick else ["-w", "1", "-t", "5"]
        options = [*subscribe("bench/1"), "-f", frame, *times]
        with generator(server.port, server.side.kind, "loop", targets, *options) as seen:
            next(seen)
            return next(seen)

    return measure


def burst(server: Running, _quick: bool) -> Sample:
    """Messages to the room from another process, as fast as it goes."""
    targets = server.targets(server.side.room, BURST_SOCKETS)
    expected = ["-e", str(BURST_SOCKETS * BURST_MESSAGES), "-q", QUIET_SECONDS]
    with generator(server.port, server.side.kind, "count", targets, *expected) as seen:
        next(seen)
        sent = server.send("room", str(BURST_MESSAGES))
        return rated(next(seen), sent)


def targeted(rate: int, messages: dict[str, int], send: str = "notify") -> Measure:
    """Messages to single users from one synchronous process; rate 0 is as fast as it goes."""

    def measure(server: Running, quick: bool) -> Sample:
        count = messages.get(server.side.name, messages["default"])
        if quick and rate:
            count //= 2
        ids = BUILD / "ids.txt"
        ids.write_text("\n".join(str(user_id) for user_id, _ in server.users))
        targets = server.targets(server.side.user, USERS)
        expected = ["-e", str(count), "-q", QUIET_SECONDS]
        with generator(server.port, server.side.kind, "count", targets, *expected) as seen:
            next(seen)
            sent = server.send(send, str(count), str(rate), str(ids))
            return rated(next(seen), sent)

    return measure


def connections(server: Running, quick: bool) -> Sample:
    """Authenticated connections, 32 in flight, each until its first frame or accept."""
    count = 300 if quick else USERS - WARM_UP_CONNECTIONS
    for first, number in ((0, WARM_UP_CONNECTIONS), (WARM_UP_CONNECTIONS, count)):
        targets = server.targets(server.side.user, number, first)
        with generator(server.port, server.side.kind, "hold", targets) as seen:
            opened = next(seen)
    return {"per_second": opened["ready"] / opened["seconds"], "lost": opened["refused"]}


def memory(server: Running, quick: bool) -> Sample:
    """What the server grows by for each idle socket beyond the first hundred."""
    count = 300 if quick else USERS - WARM_UP_CONNECTIONS
    first = server.targets(server.side.user, WARM_UP_CONNECTIONS)
    with generator(server.port, server.side.kind, "hold", first) as seen:
        next(seen)
        before = settled_private_bytes(server.pid)
        more = server.targets(server.side.user, count, WARM_UP_CONNECTIONS)
        with generator(server.port, server.side.kind, "hold", more) as seen_more:
            next(seen_more)
            grown = settled_private_bytes(server.pid) - before
    return {"kib_per_socket": grown / count / 1024, "lost": 0}


def subscription_memory(server: Running, quick: bool) -> Sample:
    """What the server grows by for each of 50 subscriptions on a socket."""
    count = 300 if quick else USERS - WARM_UP_CONNECTIONS
    names = [f"bench/{number}" for number in range(1, SUBSCRIPTIONS + 1)]
    first = server.targets(server.side.user, WARM_UP_CONNECTIONS)
    more = server.targets(server.side.user, count, WARM_UP_CONNECTIONS)
    grown = []
    for options in ([], subscribe(*names)):
        with generator(server.port, server.side.kind, "hold", first, *options) as seen:
            next(seen)
            before = settled_private_bytes(server.pid)
            with generator(server.port, server.side.kind, "hold", more, *options) as seen_more:
                next(seen_more)
                grown.append(settled_private_bytes(server.pid) - before)
    bare, subscribed = grown
    kib = (subscribed - bare) / count / SUBSCRIPTIONS / 1024
    return {"kib_per_subscription": kib, "lost": 0}


def baseline(name: str) -> float | None:
    """The generator's own figure: against a server in C that does nothing but write frames."""
    shapes = {"fan-out-100": (100, 0), "fan-out-500": (500, 0), "burst": (BURST_SOCKETS, 20_000)}
    if name not in shapes:
        return None
    sockets, messages = shapes[name]
    targets = BUILD / "targets.txt"
    targets.write_text("/\n" * sockets)
    port = free_port()
    flood = [str(messages)] if messages else []
    with process([str(BUILD / "baseline"), str(port), str(sockets), *flood], SERVER_CORE) as server:
        wait_for_port(port, server)
        mode, *options = (
            ("count", "-e", str(sockets * messages)) if messages else ("loop", "-f", "%s")
        )
        with generator(port, "plain", mode, targets, *options) as seen:
            next(seen)
            return next(seen)["per_second"]


def rated(sample: Sample, sent: dict[str, int]) -> Sample:
    """Add the rate, from the sender's first call to the arrival of the last message."""
    seconds = max(0.0, (sample["last_at"] - sent["started_at"]) / 1e9)
    rate = sample["received"] / seconds if seconds else 0.0
    return sample | {"seconds": seconds, "per_second": rate}


WORKLOADS = [
    Workload(
        "fan-out-100",
        "Fan-out to 100 sockets, closed loop",
        "deliveries/s",
        fan_out(100),
        wanted={"tutorial": 12, "socketio": 0.9},
    ),
    Workload(
        "fan-out-500",
        "Fan-out to 500 sockets, closed loop",
        "deliveries/s",
        fan_out(500),
        wanted={"tutorial": 18, "socketio": 1.15},
    ),
    Workload(
        "fan-out-500-committed",
        "… with a committed row per event",
        "deliveries/s",
        fan_out(500, committed=True),
        sides=("rendered",),
        wanted={"fan-out-500": 0.5},
    ),
    Workload(
        "subscriptions-500",
        "… to 500 subscriptions on `/ws/realtime/`",
        "deliveries/s",
        fan_out_to_subscriptions(500),
        sides=("rendered",),
        wanted={"fan-out-500": 0.9},
    ),
    Workload(
        "burst",
        "2,000 messages from another process to 100 sockets",
        "deliveries/s",
        burst,
        wanted={"socketio": 4},
    ),
    Workload(
        "targeted",
        "Messages to 1,000 users from one process, flat out",
        "messages/s",
        targeted(0, {"default": 40_000, "tutorial": 2_000}),
        wanted={"tutorial": 25, "socketio": 1},
    ),
    Workload(
        "targeted-latency",
        "… at 200/s: 99th percentile of the latency",
        "ms",
        targeted(200, {"default": 2_000}),
        figure="p99_ms",
        smaller_is_better=True,
        wanted={"socketio": 1},
    ),
    Workload(
        "connections",
        "Authenticated connections, users in PostgreSQL",
        "connections/s",
        connections,
        wanted={"tutorial": 2},
    ),
    Workload(
        "connections-sqlite",
        "Authenticated connections, users in SQLite",
        "connections/s",
        connections,
        sides=("rendered", "tutorial"),
        setup="sqlite",
        wanted={"tutorial": 2},
    ),
    Workload(
        "memory",
        "Memory of an idle authenticated socket",
        "KiB",
        memory,
        figure="kib_per_socket",
        smaller_is_better=True,
        wanted={"tutorial": 1},
    ),
    Workload(
        "subscription-memory",
        "Memory of each of 50 subscriptions on a socket",
        "KiB",
        subscription_memory,
        figure="kib_per_subscription",
        smaller_is_better=True,
        sides=("rendered",),
        at_most=1.5,
    ),
]
