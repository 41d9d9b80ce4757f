"""What goes over the wire: the payload contract, and each event encoded exactly once."""

import asyncio
import re
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

# The largest integer that JavaScript, and whoever reads JSON as it does, holds exactly.
LARGEST_INTEGER = 2**53 - 1

# The longest `seq` that a frame can carry, so that a payload that is accepted always fits.
LONGEST_SEQ = len(f',"seq":{LARGEST_INTEGER}')

# Objects and lists in each other. Python's parser, which has to read an event again, gives up
# after about 980 in 3.11.
DEEPEST = 100

_encode = DjangoJSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=True, separators=(",", ":")
).encode
_strings = re.compile(r'"(?:[^"\\]|\\.)*"')
# Every digit as a zero, so that one search finds as many in a row as the largest integer has.
_zeros = bytes.maketrans(b"123456789", b"0" * 9)
_integer = re.compile(r"(?<![\w.+-])-?[0-9]{16,}(?![\w.])")
# A NUL that JSON escaped, not a backslash followed by the letters u0000.
_nul = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Frame:
    """One event as its subscribers receive it: a WebSocket frame with the JSON text."""

    __slots__ = ("_named", "seq", "wire")

    def __init__(self, text: str, seq: int | None = None) -> None:
        self.seq = seq
        self.wire = text_frame(text.encode())
        self._named: tuple[str, Frame] | None = None

    @property
    def text(self) -> str:
        """The JSON text, for servers that make frames themselves."""
        header = {126: 4, 127: 10}.get(self.wire[1], 2)
        return self.wire[header:].decode()

    def named(self, name: str | None) -> "Frame":
        """Return the frame as subscriptions by this name get it, which is made once."""
        if name is None:
            return self
        if self._named is None or self._named[0] != name:
            self._named = (name, Frame(with_key(self.text, "stream", _encode(name)), self.seq))
        return self._named[1]


class Tail:
    """The latest frames of all feeds of a process, for subscriptions that start a little behind."""

    def __init__(self, size: int, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        """Keep at most `size` bytes of frames, and none for longer than so many seconds."""
        self._size = size
        self._seconds = seconds
        self._loop = loop
        self._bytes = 0
        self._frames: deque[tuple[float, deque[Frame], Frame]] = deque()

    def add(self, frames: deque[Frame], frame: Frame) -> None:
        """Append a frame to those of its feed."""
        frames.append(frame)
        self._frames.append((self._loop.time(), frames, frame))
        self._bytes += len(frame.wire)
        if self._bytes > self._size:
            self.trim()

    def trim(self) -> None:
        """Let go of what is too much or too old."""
        oldest = self._loop.time() - self._seconds
        while self._frames and (self._bytes > self._size or self._frames[0][0] < oldest):
            _, frames, frame = self._frames.popleft()
            self._bytes -= len(frame.wire)
            # A feed that has started over has let go of it already.
            if frames and frames[0] is frame:
                frames.popleft()


def text_frame(data: bytes) -> bytes:
    """Wrap UTF-8 text in an unmasked, unfragmented text frame (RFC 6455, section 5.2)."""
    length = len(data)
    if length < 126:
        return bytes((0x81, length)) + data
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + data
    return b"\x81\x7f" + length.to_bytes(8, "big") + data


def join(frames: Sequence[Frame]) -> bytes:
    """Return the bytes of frames that leave together."""
    return frames[0].wire if len(frames) == 1 else b"".join(frame.wire for frame in frames)


def ready_frame(epoch: str, seq: int, expires_at: datetime) -> Frame:
    """Return the first frame of a connection: from where it continues, and until when."""
    position = {"epoch": epoch, "seq": seq}
    times = {"expires_at": expires_at, "now": timezone.now()}
    return Frame(encode({"type": "realtime.ready", **position, **times}))


def reset_frame(epoch: str, seq: int) -> Frame:
    """Return the frame that tells a client to refetch over REST and carry on from `seq`."""
    return Frame(encode({"type": "realtime.reset", "epoch": epoch, "seq": seq}))


def encode(payload: Mapping[str, Any]) -> str:
    """Return the JSON text of a payload; dates, UUIDs and decimals become strings."""
    return _encode(payload)


def with_seq(text: str, seq: int) -> str:
    """Add the sequence number to the JSON text of a payload, as its last key."""
    return with_key(text, "seq", str(seq))


def with_key(text: str, key: str, value: str) -> str:
    """Add a key and the JSON text of its value to that of an object, as the last one."""
    comma = "" if text == "{}" else ","
    return f'{text[:-1]}{comma}"{key}":{value}}}'


def check_payload(payload: Mapping[str, Any]) -> str:
    """Check an event against the payload contract and give its JSON text.

    Args:
        payload: a JSON object; `seq`, `stream` and types beginning with `realtime.` are the
            protocol's own.

    Raises:
        ValueError: it is no JSON object, uses a reserved name, holds what JSON or the database
            cannot (NaN, a NUL character, a lone surrogate) or an integer beyond `LARGEST_INTEGER`,
            is nested deeper than `DEEPEST`, or its frame would be larger than
            `REALTIME_MAX_FRAME_BYTES`.
    """
    if not isinstance(payload, Mapping):
        raise ValueError(f"an event must be a JSON object, not {type(payload).__name__}")
    for name in ("seq", "stream"):
        if name in payload:
            raise ValueError(f"the key {name!r} is reserved: the server sets it; use another name")
    # Django's lazy texts are not of the type str.
    kind = str(payload.get("type", ""))
    if kind.startswith("realtime."):
        raise ValueError(f"the type {kind!r} is reserved: types may not begin with 'realtime.'")
    for key in payload:
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} must be a string to be a JSON object's key")
    try:
        text = _encode(dict(payload))
        data = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the event is not valid JSON: {error}") from error
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise ValueError(f"the event is nested deeper than {DEEPEST} objects and lists")
    if "\\u0000" in text and _nul.search(text):
        raise ValueError("the event holds a NUL character, which PostgreSQL cannot store")
    if b"0" * 16 in data.translate(_zeros) and (integer := _too_large_integer(text)):
        raise ValueError(
            f"the event holds the number {integer[:40]}, which JavaScript cannot hold exactly: "
            "send numbers beyond 2**53 - 1 as strings"
        )
    size = len(data) + LONGEST_SEQ
    if size > settings.REALTIME_MAX_FRAME_BYTES:
        raise ValueError(
            f"the event's frame is {size:,} bytes, over REALTIME_MAX_FRAME_BYTES "
            f"({settings.REALTIME_MAX_FRAME_BYTES:,}): send an id and let the client fetch the rest"
        )
    return text


def _too_large_integer(text: str) -> str | None:
    """Return an integer of a JSON text that not every client can hold, None if there is none."""
    for integer in _integer.findall(_strings.sub('""', text)):
        if abs(int(integer)) > LARGEST_INTEGER:
            return integer
    return None


def _depth(text: str) -> int:
    """Return how many objects and lists of a JSON text are in each other."""
    depth = deepest = 0
    for character in _strings.sub("", text):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest
