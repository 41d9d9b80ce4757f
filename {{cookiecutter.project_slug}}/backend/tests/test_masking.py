"""Tokens stay out of the log."""

import io
import logging

import pytest
from rest_framework_simplejwt.tokens import AccessToken

from backend.masking import MaskingFilter, mask, scrub


def test_what_is_masked(subtests: pytest.Subtests):
    """Values are hidden where their names say that they are secret, and nothing else is."""
    for text, masked in (
        ("GET /ws/realtime/?token=secret&since=4", "GET /ws/realtime/?token=***&since=4"),
        (
            "GET /ws/realtime/?since=4&ticket=secret HTTP/1.1",
            "GET /ws/realtime/?since=4&ticket=*** HTTP/1.1",
        ),
        ("{'ticket': 'secret', 'a': 1}", "{'ticket': '***', 'a': 1}"),
        ('{"refresh": "secret"}', '{"refresh": "***"}'),
        ("Authorization: Bearer secret", "Authorization: Bearer ***"),
        ("['bearer', 'secret']", "['bearer', '***']"),
        ("old_password=secret access_token: 'secret'", "old_password=*** access_token: '***'"),
        ("subprotocols bearer, secret", "subprotocols bearer, ***"),
        ("/login/?next=/ws/%3Fticket%3Dsecret", "/login/?next=/ws/%3Fticket%3D***"),
        (r'"{\"ticket\": \"secret\"}"', r'"{\"ticket\": \"***"}"'),
        ("b'sessionid=secret; csrftoken=secret'", "b'sessionid=***; csrftoken=***'"),
        ("token_version=3 and a token is here", "token_version=3 and a token is here"),
        ("monkeyjump.example.com", "monkeyjump.example.com"),
    ):
        with subtests.test(text=text):
            assert mask(text) == masked


def test_a_token_anywhere():
    """A JSON Web Token is known by its looks."""
    assert mask(f"odd place: <{AccessToken()}>") == "odd place: <***>"
    assert str(AccessToken()) not in mask(f"/admin/login/?next=%2Fws%2F%3Fx%3D{AccessToken()}")


def test_messages_and_tracebacks():
    """What reaches the console holds no token, be it in a message, an argument or a traceback."""
    console = io.StringIO()
    handler = logging.StreamHandler(console)
    handler.addFilter(MaskingFilter())
    logger = logging.getLogger("backend.tests.masking")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(io.StringIO()))  # which formats the traceback first
    logger.addHandler(handler)
    token = str(AccessToken())

    logger.warning("%s asks for ?ticket=%s", "ada", "secret")
    try:
        raise LookupError(f"nobody has {token}")
    except LookupError:
        logger.exception("failed with %s", token)

    assert "ada asks for ?ticket=***" in console.getvalue()
    assert "LookupError: nobody has ***" in console.getvalue()
    assert "secret" not in console.getvalue()
    assert token not in console.getvalue()


def test_the_console_masks():
    """The handler that writes this project's log has the filter."""
    handlers = {handler.get_name(): handler for handler in logging.getLogger().handlers}

    assert [type(one) for one in handlers["console"].filters] == [MaskingFilter]


def test_what_an_error_tracker_is_told():
    """Secrets go by their names or their looks, wherever they are; everything else stays."""
    token = str(AccessToken())
    event = {
        "message": f"nobody has {token}",
        "level": "error",
        "request": {
            "query_string": "ticket=secret&since=4",
            "headers": {"Authorization": "secret", "Cookie": "a=secret", "Host": "example.com"},
            "data": {"username": "ada", "old_password": "secret"},
        },
        "breadcrumbs": {"values": [{"message": "GET /?token=secret", "data": {"status": 401}}]},
        "exception": {"values": [{"stacktrace": {"frames": ({"vars": {"refresh": ["secret"]}},)}}]},
        "count": 3,
        7: None,
    }

    scrubbed = scrub(event, {})

    assert scrubbed == {
        "message": "nobody has ***",
        "level": "error",
        "request": {
            "query_string": "ticket=***&since=4",
            "headers": {"Authorization": "***", "Cookie": "***", "Host": "example.com"},
            "data": {"username": "ada", "old_password": "***"},
        },
        "breadcrumbs": {"values": [{"message": "GET /?token=***", "data": {"status": 401}}]},
        "exception": {"values": [{"stacktrace": {"frames": [{"vars": {"refresh": "***"}}]}}]},
        "count": 3,
        7: None,
    }
    assert event["message"] == f"nobody has {token}"
