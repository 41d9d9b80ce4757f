"""The payload contract, and how a frame looks on the wire."""

import pytest
from realtime.frames import check_payload, text_frame
from websockets.frames import Frame as Expected
from websockets.frames import Opcode


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
def test_text_frame_is_what_a_websocket_library_would_send(length):
    """A frame has the header of RFC 6455 for each of the three length encodings."""
    data = b"x" * length

    assert text_frame(data) == Expected(Opcode.TEXT, data).serialize(mask=False)


def test_a_payload_that_contains_itself_is_refused():
    """A circular object is a clear error, not an endless loop."""
    payload: dict[str, object] = {}
    payload["self"] = payload

    with pytest.raises(ValueError, match="not valid JSON"):
        check_payload(payload)


def test_an_escaped_backslash_is_no_nul():
    """A text that only looks like an escaped NUL is fine."""
    assert check_payload({"x": "\\u0000"}) == r'{"x":"\\u0000"}'
