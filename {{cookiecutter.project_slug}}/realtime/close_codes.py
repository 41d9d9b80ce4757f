"""Why a server closes a socket: the codes of the protocol, in one place.

RFC 6455, section 7.4.2, leaves 4000 to 4999 to applications; these follow HTTP's statuses.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """A WebSocket close code; the README says what a client does about each."""

    NORMAL = 1000
    SERVER_FAULT = 1011
    UNUSABLE_FRAMES = 4400
    NOT_AUTHENTICATED = 4401
    NOT_ALLOWED = 4403
    NO_SUCH_STREAM = 4404
    READS_TOO_SLOWLY = 4408
    GOING_AWAY = 4412
    FRAME_TOO_LARGE = 4413
    TOO_MANY = 4429

    @property
    def reason(self) -> str:
        """What the code says, in words."""
        return REASONS[self]


REASONS = {
    CloseCode.NORMAL: "ended as asked for",
    CloseCode.SERVER_FAULT: "the server cannot do it now",
    CloseCode.UNUSABLE_FRAMES: "too many frames in a row could not be used",
    CloseCode.NOT_AUTHENTICATED: "no valid token, or it has ended",
    CloseCode.NOT_ALLOWED: "this user may not follow this stream",
    CloseCode.NO_SUCH_STREAM: "there is no such stream",
    CloseCode.READS_TOO_SLOWLY: "the client reads too slowly",
    CloseCode.GOING_AWAY: "the server is going away",
    CloseCode.FRAME_TOO_LARGE: "the frame is too large",
    CloseCode.TOO_MANY: "more than one may have",
}
