"""The payload contract, and how a frame looks on the wire."""

import datetime
import decimal
import uuid
from typing import Any

import pytest
from django.utils.translation import gettext_lazy

from realtime.frames import Frame, check_payload, with_seq


def test_a_frame_is_measured_in_bytes_not_in_characters():
    """The wire form of a text holds its UTF-8 encoding."""
    assert Frame("é").wire == b"\x81\x02\xc3\xa9"


def test_seq_comes_last(subtests):
    """The sequence number is added to the payload's own keys."""
    for payload, text in (({}, '{"seq":7}'), ({"type": "a", "n": 1}, '{"type":"a","n":1,"seq":7}')):
        with subtests.test(text=text):
            assert with_seq(check_payload(payload), 7) == text


def test_dates_and_uuids_become_strings():
    """A payload may hold what Django's JSON encoder knows."""
    payload = {"at": datetime.date(2026, 1, 2), "id": uuid.UUID(int=1)}

    assert check_payload(payload) == (
        '{"at":"2026-01-02","id":"00000000-0000-0000-0000-000000000001"}'
    )


def nested(depth):
    """Give lists in each other."""
    return [nested(depth - 1)] if depth > 1 else []


def test_brackets_in_texts_are_no_nesting():
    """Only objects and lists count."""
    assert check_payload({"x": '[{"' * 200, "y": nested(99)})


def test_a_payload_that_breaks_the_contract_is_refused(subtests):
    """The error names what is wrong with an event, before anything is stored."""
    cases: list[tuple[Any, str]] = [
        (["a"], "must be a JSON object, not list"),
        ("a", "must be a JSON object, not str"),
        ({"seq": 1}, "'seq' is reserved"),
        ({"stream": "chat/lobby"}, "'stream' is reserved"),
        ({"type": "realtime.ready"}, "'realtime.ready' is reserved"),
        ({"type": gettext_lazy("realtime.ready")}, "'realtime.ready' is reserved"),
        ({"x": nested(101)}, "nested deeper than 100"),
        ({"x": nested(900)}, "nested deeper than 100"),
        ({1: "a"}, "key 1 must be a string"),
        ({"x": float("nan")}, "not valid JSON"),
        ({"x": object()}, "not valid JSON"),
        ({"x": "\ud800"}, "not valid JSON"),
        ({"x": "a\0b"}, "NUL"),
        ({"x": "\\\0"}, "NUL"),
        ({"x": [1, {"y": 2**53}]}, "9007199254740992, which JavaScript cannot hold"),
        ({"x": -(2**53)}, "-9007199254740992, which JavaScript cannot hold"),
        ({"x": 10**4000}, "which JavaScript cannot hold"),
        ({"x": "y" * 65_536}, "over REALTIME_MAX_FRAME_BYTES"),
    ]
    for payload, reason in cases:
        with subtests.test(reason=reason), pytest.raises(ValueError, match=reason):
            check_payload(payload)


def test_the_largest_frame_fits_with_its_seq(settings):
    """A payload that is accepted is within the limit whatever its number."""
    settings.REALTIME_MAX_FRAME_BYTES = 100
    text = check_payload({"x": "y" * (100 - len('{"x":""}') - len(',"seq":9007199254740991'))})

    assert len(with_seq(text, 2**53 - 1)) == 100


def test_digits_that_are_no_large_number(subtests):
    """Numbers that JavaScript holds, and what is a number to nobody, pass."""
    for value in (
        2**53 - 1,
        -(2**53) + 1,
        1e308,
        0.1234567890123456789,
        1234567890123456.5,
        "99999999999999999999",
        {"99999999999999999999": '"99999999999999999999'},
        decimal.Decimal("99999999999999999999"),
    ):
        with subtests.test(value=value):
            assert check_payload({"x": value})
