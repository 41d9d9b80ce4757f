"""Keeping tokens out of the log."""

import logging
import re

_SECRET = re.compile(
    # ?token=…, "ticket": "…", refresh=… and the like, up to what ends a value
    r"""(?P<name>\b(?:token|ticket|access|refresh|password)["']?\s*[=:]\s*["']?)[^\s&"',;)\]}>]+"""
    # Authorization: Bearer …, and the subprotocols "bearer, …"
    r"""|(?P<scheme>\bbearer["']?(?:\s*,\s*["']?|\s+))[^\s&"',;)\]}>]+"""
    # a JSON Web Token anywhere else
    r"""|\beyJ[\w-]+\.[\w-]+\.[\w-]*""",
    re.IGNORECASE,
)
_formatter = logging.Formatter()


class MaskingFilter(logging.Filter):
    """Replaces tokens in a record's message and traceback, and lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = mask(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = mask(_formatter.formatException(record.exc_info))
        return True


def mask(text: str) -> str:
    """Return `text` with `***` in place of every token, ticket and password."""
    return _SECRET.sub(lambda match: f"{match['name'] or match['scheme'] or ''}***", text)
