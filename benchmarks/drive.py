"""Makes users and sends messages on one of the Django sides; the working folder says on which.

    python drive.py users COUNT
    python drive.py room COUNT
    python drive.py notify COUNT RATE IDS
    python drive.py store COUNT RATE IDS

The folder holds `side.py` with `make_users(count)`, `send_to_room(texts)`, `notify(user_id, text)`
and, where a message can be stored, `store(user_id, text)`. `users` prints a line "<user id> <access
token>" for each user. The others send COUNT messages: to the room, or in turn to the users whose
ids are in the file IDS, at RATE messages per second (0 for as fast as it goes). `generator.c`
explains the text of a message.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import django

TEXT_BYTES = 128


def text(number: int) -> str:
    """The text of the given message to one socket, counted from 0."""
    return f"@{number}:{time.monotonic_ns()}:".ljust(TEXT_BYTES, "x")


def texts(count: int) -> Iterator[str]:
    """One text after the other, each made when it is asked for."""
    for number in range(count):
        yield text(number)


def send_all(
    send: Callable[[int, str], None], count: int, rate: float, user_ids: list[int]
) -> None:
    """Send to one user after the other, at the given rate."""
    start = time.monotonic()
    for number in range(count):
        if rate:
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
        send(user_ids[number % len(user_ids)], text(number // len(user_ids)))


def main() -> None:
    """Do what the command line says."""
    sys.path.insert(0, str(Path.cwd()))
    django.setup()
    side = importlib.import_module("side")
    what, count, *rest = sys.argv[1:]
    if what == "users":
        for user_id, token in side.make_users(int(count)):
            print(user_id, token)
        return
    user_ids = [int(line) for line in Path(rest[1]).read_text().split()] if rest else []
    started_at = time.monotonic_ns()
    if what == "room":
        side.send_to_room(texts(int(count)))
    else:
        send_all(getattr(side, what), int(count), float(rest[0]), user_ids)
    print(json.dumps({"started_at": started_at, "finished_at": time.monotonic_ns()}))


main()
