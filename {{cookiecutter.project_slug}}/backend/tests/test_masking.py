"""Tokens stay out of the log."""

import io
import logging

import pytest
from rest_framework_simplejwt.tokens import AccessToken

from backend.masking import MaskingFilter, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /ws/realtime/?token=secret&since=4", "GET /ws/realtime/?token=***&since=4"),
        (
            "GET /ws/realtime/?since=4&ticket=secret HTTP/1.1",
            "GET /ws/realtime/?since=4&ticket=*** HTTP/1.1",
        ),
        ("{'ticket': 'secret', 'a': 1}", "{'ticket': '***', 'a': 1}"),
        ('{"refresh": "secret"}', '{"refresh": "***"}'),
        ("Authorization: Bearer secret", "Authorization: Bearer ***"),
        ("['bearer', 'secret']", "['bearer', '***']"),
        ("subprotocols bearer, secret", "subprotocols bearer, ***"),
        ("token_version=3 and a token is here", "token_version=3 and a token is here"),
    ],
)
def test_what_is_masked(text: str, masked: str):
    """Values are hidden where their names say that they are secret, and nothing else is."""
    assert mask(text) == masked


def test_a_token_anywhere():
    """A JSON Web Token is known by its looks."""
    assert mask(f"odd place: <{AccessToken()}>") == "odd place: <***>"


def test_messages_and_tracebacks():
    """What reaches the console holds no token, be it in a message, an argument or a traceback."""
    console = io.StringIO()
    handler = logging.StreamHandler(console)
    handler.addFilter(MaskingFilter())
    logger = logging.getLogger("backend.tests.masking")
    logger.propagate = False
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
