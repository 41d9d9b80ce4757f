"""The Daphne that this project runs; each override says what it adds to Daphne.

It touches private fields of Twisted and autobahn, here and nowhere else: requirements.in bounds
their versions, and a test fails when they change.
"""

import argparse
import os
import sys
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server as DaphneServer
from daphne.ws_protocol import WebSocketProtocol as DaphneProtocol
from django.conf import settings
from twisted.internet import tcp


class WebSocketProtocol(DaphneProtocol):
    """Daphne's WebSocket protocol, with writes that take no detour through the ASGI queue."""

    def write_frames(self, wire: bytes) -> bool:
        """Write frames that are encoded already, now.

        Daphne encodes each message once per socket and formats log lines nobody reads; Twisted
        asks the poller before each write. A frame for five hundred sockets needs none of it.

        Args:
            wire: whole WebSocket frames, unmasked and uncompressed.

        Returns:
            Whether that was possible; if not, the caller sends its frames the usual way.
        """
        transport = self.transport
        if (
            type(transport) is not tcp.Server
            or self.state != self.STATE_OPEN
            or self._perMessageCompress is not None
            or self.send_queue
            or transport.disconnecting
        ):
            return False
        if transport.dataBuffer or transport._tempDataBuffer:
            transport.write(wire)
            return True
        try:
            sent = transport.socket.send(wire)
        except OSError:
            # A full buffer, or a connection that broke: Twisted deals with both.
            sent = 0
        if sent < len(wire):
            transport.write(wire[sent:])
        return True

    def buffered_bytes(self) -> int:
        """Give how much has been written but not yet taken by the operating system."""
        transport = self.transport
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


class Server(DaphneServer):
    """Daphne with this project's limits and direct writes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        limit = settings.REALTIME_MAX_FRAME_BYTES
        options |= {
            "websocket_timeout": -1,  # A socket may live longer than Daphne's 24 hours.
            "websocket_max_message_size": limit,
            "websocket_max_frame_size": limit,
            "ping_interval": settings.REALTIME_PING_SECONDS,
            "ready_callable": self._use_protocol,
        }
        super().__init__(*args, **options)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Offer the consumer the direct way to the socket."""
        if isinstance(protocol, WebSocketProtocol):
            scope["extensions"] = {"realtime.direct": protocol}
        return super().create_application(protocol, scope)

    def _use_protocol(self) -> None:
        # Daphne's `run` makes the factory itself, and calls this right before it starts.
        self.ws_factory.protocol = WebSocketProtocol


def main(arguments: list[str]) -> None:
    """Serve `backend.asgi` until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m realtime.server", description=main.__doc__)
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="TCP port to listen on")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    from backend.asgi import application

    Server(
        application,
        endpoints=build_endpoint_description_strings(host=options.bind, port=options.port),
    ).run()


if __name__ == "__main__":
    main(sys.argv[1:])
