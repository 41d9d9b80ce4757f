"""Why a server closes a socket: the codes of the protocol, in one place.

RFC 6455, section 7.4.2, leaves 4000 to 4999 to applications; these follow HTTP's statuses.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """A WebSocket close code; the README says what a client does about each."""

    UNUSABLE_FRAMES = 4400
    NOT_AUTHENTICATED = 4401
    NOT_ALLOWED = 4403
    NO_SUCH_STREAM = 4404
    READS_TOO_SLOWLY = 4408
    GOING_AWAY = 4412
    FRAME_TOO_LARGE = 4413
    TOO_MANY = 4429
