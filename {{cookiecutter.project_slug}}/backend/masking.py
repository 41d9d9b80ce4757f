"""Keeping tokens out of the log, and out of what an error tracker is told."""

import logging
import re
from collections.abc import Mapping
from typing import Any

_NAMES = "token|ticket|access|refresh|password|sessionid"
_SECRET = re.compile(
    # ?token=…, "ticket": "…", old_password=… and the like, up to what ends a value; within another
    # address or text = is %3D and " is \\"
    rf"""(?P<name>(?:{_NAMES})\\*["']?\s*(?:[=:]|%3D)\s*\\*["']?)[^\s&"',;)\]}}>]+"""
    # Authorization: Bearer …, and the subprotocols "bearer, …"
    r"""|(?P<scheme>\bbearer["']?(?:\s*,\s*["']?|\s+))[^\s&"',;)\]}>]+"""
    # a JSON Web Token anywhere else, with what it hangs on to; each word is looked through once, or
    # a long one would take minutes
    r"""|(?<![\w-])(?=[\w-]*?(?-i:eyJ))[\w-]++\.[\w-]++\.[\w-]*+""",
    re.IGNORECASE,
)
# Names under which a structure holds what is secret, whatever it is: old_password, Set-Cookie.
_SECRET_NAME = re.compile(
    rf"(?:^|[_-])(?:{_NAMES}|secret|secret_key|authorization|cookie)s?$", re.IGNORECASE
)
_formatter = logging.Formatter()


class MaskingFilter(logging.Filter):
    """Replaces tokens in a record's message and traceback, and lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # The arguments do not fit: no reason to fail the caller.
            message = f"{record.msg} {record.args}"
        record.msg, record.args = mask(message), None
        if record.exc_info:
            # Another handler may have formatted it already.
            record.exc_text = mask(record.exc_text or _formatter.formatException(record.exc_info))
        return True


def mask(text: str) -> str:
    """Return `text` with `***` in place of every token, ticket and password."""
    return _SECRET.sub(lambda match: f"{match['name'] or match['scheme'] or ''}***", text)


def scrub(event: Any, hint: Any = None) -> Any:
    """Return a copy of an error tracker's event or breadcrumb with `***` for every secret.

    Made to be Sentry's `before_send`, `before_send_transaction` and `before_breadcrumb`: it takes
    the event, and a `hint` that it has no use for. Texts are masked like the log's lines; what
    stands under a name such as `ticket`, `old_password` or `Cookie` is left out whole.
    """
    if isinstance(event, str):
        return mask(event)
    if isinstance(event, Mapping):
        return {
            key: "***" if isinstance(key, str) and _SECRET_NAME.search(key) else scrub(value)
            for key, value in event.items()
        }
    if isinstance(event, list | tuple):
        return [scrub(value) for value in event]
    return event
