"""The Daphne that this project runs; each override says what it adds to Daphne.

It touches private fields of Twisted and autobahn, here and nowhere else: requirements.in bounds
their versions, and a test fails when they change.
"""

import argparse
import asyncio
import errno
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import autobahn.twisted.websocket
import autobahn.websocket.protocol
from autobahn.websocket.types import ConnectionDeny
from channels.routing import get_default_application
from daphne import http_protocol
from daphne.endpoints import build_endpoint_description_strings
from daphne.http_protocol import WebRequest as DaphneRequest
from daphne.server import Server as DaphneServer
from daphne.ws_protocol import WebSocketProtocol as DaphneProtocol
from django.conf import settings
from twisted.internet import defer, tcp

from backend.environment import explained

from . import metrics
from .close_codes import CloseCode

# Not __name__, which is __main__ where this module is the command.
logger = logging.getLogger("realtime.server")

BODY_TOO_LARGE = b'{"detail": "The body of the request is too large."}'
# Seconds that a client has to answer a close frame before its connection is dropped.
CLOSE_TIMEOUT_SECONDS = 5
# Seconds that a stopping server waits for its applications; below every container's grace.
DRAIN_SECONDS = 8
# Python's own are 700 (2,000 in 3.13), 10 and 10: too eager for a process of many small objects.
# A socket leaves its 14 KB to the collector, whose longest round comes after some 7,000 of them.
# With 20 in place of 5 it came after 115,000, and 100,000 short connections took 470 MB, not 220.
GC_THRESHOLDS = (20_000, 5, 5)

# autobahn formats the arguments of debug lines that nobody reads: a quarter of a handshake's time.
for module in (autobahn.websocket.protocol, autobahn.twisted.websocket):
    for formatter in {"hltype", "hlval", "pformat"} & set(vars(module)):
        setattr(module, formatter, lambda *args, **options: "")


class WebSocketProtocol(DaphneProtocol):
    """Daphne's WebSocket protocol, with direct writes and with limits."""

    _frames_left = 0.0
    _frames_counted_at = 0.0

    # Direct writes: what the consumer finds in its scope as `realtime.direct`

    def write_frames(self, wire: bytes) -> bool:
        """Write frames that are encoded already, now.

        Daphne encodes each message once per socket, and Twisted asks the poller before each write.
        A frame for five hundred sockets needs neither.

        Args:
            wire: whole WebSocket frames, unmasked and uncompressed.

        Returns:
            Whether they have been dealt with; if not, the caller sends them the usual way.
        """
        transport = self.transport
        if self.state != self.STATE_OPEN:
            # A connection that is being closed takes no more frames.
            return self.state in (self.STATE_CLOSING, self.STATE_CLOSED)
        if (
            not isinstance(transport, tcp.Server)
            or transport.TLS
            or self._perMessageCompress is not None
            or self.send_queue
        ):
            return False
        if transport.dataBuffer or transport._tempDataBuffer:
            # Daphne buffers without a bound (https://github.com/django/daphne/issues/170).
            if self.buffered_bytes() + len(wire) > settings.REALTIME_BUFFER_BYTES:
                self.cut_off(CloseCode.READS_TOO_SLOWLY, "reads too slowly")
            else:
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
        """Return how much has been written but not yet taken by the operating system.

        Nothing, once the connection is being closed: nobody need wait for it any more.
        """
        transport = self.transport
        if self.state != self.STATE_OPEN:
            return 0
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

    # Limits: what Daphne lacks

    def cut_off(self, code: CloseCode, reason: str) -> None:
        """Close behind what is buffered; a client that does not read that far is dropped."""
        logger.warning("the socket of %s %s: closed with %s", self.peer, reason, code)
        self.sendClose(code=code.value)

    def onConnect(self, request: Any) -> Any:  # noqa: N802
        """Refuse handshakes while the server stops, and count frames from here on."""
        if self.factory.server_class.draining:
            raise ConnectionDeny(503, "the server is going away")
        if not "".join(self.websocket_protocols).isascii():
            # Daphne would raise.
            raise ConnectionDeny(400, "a subprotocol is not ASCII")
        self._frames_left = float(settings.REALTIME_FRAMES_BURST)
        self._frames_counted_at = time.monotonic()
        return super().onConnect(request)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803
        """Count what this server closed, by its own code, whatever the client made of that."""
        if self.closedByMe:
            metrics.CLOSED.labels(self.localCloseCode).inc()
        super().onClose(wasClean, code, reason)

    def onFrameBegin(self) -> None:  # noqa: N802
        """Count a frame, be it a message, a piece of one or a ping, whose answer is buffered."""
        now = time.monotonic()
        refill = (now - self._frames_counted_at) * settings.REALTIME_FRAMES_PER_SECOND
        self._frames_counted_at = now
        self._frames_left = min(self._frames_left + refill, settings.REALTIME_FRAMES_BURST) - 1
        if self._frames_left < 0 and self.state == self.STATE_OPEN:
            self.cut_off(CloseCode.TOO_MANY, "sends too many frames")
        super().onFrameBegin()

    def onPing(self, payload: bytes) -> None:  # noqa: N802
        """Answer a ping, unless the client leaves the answers unread."""
        if self.buffered_bytes() > settings.REALTIME_BUFFER_BYTES:
            self.cut_off(CloseCode.READS_TOO_SLOWLY, "reads too slowly")
        else:
            super().onPing(payload)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Hand a message on while the connection is open; Daphne's queue behind this has no bound,
        and a message may take longer than the next one needs to come."""
        if self.state != self.STATE_OPEN:
            return
        if self.application_queue.qsize() > settings.REALTIME_FRAMES_BURST:
            self.cut_off(CloseCode.TOO_MANY, "sends frames faster than they can be used")
        else:
            super().onMessage(payload, isBinary)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Send what the application says, empty frames too, which Daphne drops."""
        empty = not message.get("text") and not message.get("bytes")
        if empty and message["type"] == "websocket.send":
            self.serverSend(message.get("text") or b"", message.get("text") is None)
            return
        super().handle_reply(message)

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802
        """Close with whatever code the application says; autobahn would raise for 1011."""
        if code == CloseCode.SERVER_FAULT:
            self.sendCloseFrame(code=code)
        else:
            super().serverClose(code)

    def serverSend(self, content: Any, binary: bool = False) -> None:  # noqa: N802
        """Send the usual way, unless the connection is being closed: autobahn would raise."""
        if self.state in (self.STATE_CONNECTING, self.STATE_OPEN):
            super().serverSend(content, binary)

    def _max_message_size_exceeded(self, *args: Any) -> None:
        # autobahn drops the connection, so that the client would not learn why.
        self.failedByMe = True
        if self.state == self.STATE_OPEN:
            self.cut_off(CloseCode.FRAME_TOO_LARGE, "sent a frame over REALTIME_MAX_FRAME_BYTES")


class Request(DaphneRequest):
    """Daphne's HTTP request, of which every handshake is one, with less trust in who sends it.

    Daphne reads a body into memory as a whole, and lets a header say where the project is mounted.
    """

    _received = 0

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Keep what is within the limit; read the rest, so that the client will read the answer."""
        self._received += len(data)
        if self._received <= settings.DAPHNE_MAX_BODY_BYTES:
            super().handleContentChunk(data)

    def buffered_bytes(self) -> int:
        """Return how much of the answer the operating system has not taken yet."""
        transport = self.channel and self.channel.transport
        if not isinstance(transport, tcp.Server):
            return 0
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

    def cut_off(self) -> None:
        """Drop the connection of a client that does not read on."""
        logger.warning("%s reads an answer too slowly: dropped", self.client_addr)
        if self.channel is not None:
            self.channel.transport.abortConnection()

    def process(self) -> Any:
        """Handle the request, or answer that its body is too large."""
        # With it a path could look like another one to a proxy.
        self.requestHeaders.removeHeader(b"Daphne-Root-Path")
        if self._received <= settings.DAPHNE_MAX_BODY_BYTES:
            return super().process()
        headers = [(b"Content-Type", b"application/json")]
        self.handle_reply({"type": "http.response.start", "status": 413, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": BODY_TOO_LARGE})
        return None


class Server(DaphneServer):
    """Daphne with this project's protocol, and an end that costs nobody a message."""

    draining = False
    _listen_error: Exception | None = None

    def __init__(
        self,
        *args: Any,
        on_listening: Callable[[str, int], object] = lambda address, port: None,
        **options: Any,
    ) -> None:
        """Take what Daphne takes, and what to call with the address and the port in the end."""
        self._on_listening = on_listening
        limit = settings.REALTIME_MAX_FRAME_BYTES
        options |= {
            "websocket_timeout": -1,  # A socket may live longer than Daphne's 24 hours.
            "websocket_max_message_size": limit,
            "websocket_max_frame_size": limit,
            "ping_interval": settings.REALTIME_PING_SECONDS,
            "ready_callable": self._start,
        }
        super().__init__(*args, **options)
        metrics.SOCKETS.set_function(self._count_sockets)

    def run(self) -> None:
        """Serve until the end.

        Raises:
            OSError: it cannot listen; `cannot_listen` has the words for it.
            OverflowError: the port is none.
        """
        super().run()
        if self._listen_error is not None:
            raise self._listen_error

    def listen_error(self, failure: Any) -> None:
        """Keep why it cannot listen; Daphne would only log it, and start with nothing to serve."""
        self._listen_error = getattr(failure.value, "socketError", failure.value)
        self.abort_start = True

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Offer the application the direct way to the socket."""
        scope["extensions"] = {"realtime.direct": protocol}
        if isinstance(protocol, WebSocketProtocol):
            # As the client wrote them: autobahn raises for one that Daphne has percent-decoded.
            scope["subprotocols"] = protocol.websocket_protocols
        return super().create_application(protocol, scope)

    def kill_all_applications(self) -> defer.Deferred[None]:
        """Drain instead of killing (https://github.com/django/daphne/issues/177).

        Twisted calls this on SIGTERM and waits for the result: stop listening, tell every client
        to come back elsewhere, let requests and consumers end, and cancel those that do not.
        """
        self.draining = True
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._drain()))

    async def _drain(self) -> None:
        for listener in self.listeners:
            listener.addCallback(lambda port: port.stopListening())
        applications = []
        for protocol, details in list(self.connections.items()):
            application = details.get("application_instance")
            if application is not None and not application.done():
                applications.append(application)
            if isinstance(protocol, WebSocketProtocol):
                if protocol.state == protocol.STATE_OPEN:
                    protocol.sendClose(code=CloseCode.GOING_AWAY.value)
                elif protocol.state == protocol.STATE_CONNECTING:
                    protocol.dropConnection(abort=True)
        # Models can be imported only once Django is set up.
        from .hub import Hub

        Hub.current().end(CloseCode.GOING_AWAY)
        if applications:
            _, late = await asyncio.wait(applications, timeout=DRAIN_SECONDS)
            for application in late:
                application.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await Hub.current().sessions.close()
        logger.info("stopped after %s connections had ended", len(applications))

    def _count_sockets(self) -> int:
        return sum(
            isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_OPEN
            for protocol in list(self.connections)
        )

    def _start(self) -> None:
        # Daphne's `run` makes the factory itself, and calls this right before it starts.
        http_protocol.WebRequest = Request
        self.ws_factory.protocol = WebSocketProtocol
        self.ws_factory.setProtocolOptions(
            closeHandshakeTimeout=CLOSE_TIMEOUT_SECONDS,
            allowNullOrigin=True,  # As Daphne says too: it is OriginCheck that refuses `null`.
        )
        for address, port in self.listening_addresses:
            self._on_listening(address, port)


def cannot_listen(error: Exception, address: str, port: int, choose: str) -> str:
    """Say why a server cannot listen, and what to do about it.

    Args:
        error: what the operating system says.
        address: where it should have listened: an IP address or a name.
        port: the TCP port.
        choose: how another port is chosen: `port=`, to which this adds one.
    """
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return (
                f"Port {port} of {address} is taken: stop what listens there, or choose another "
                f"with {choose}{port % 65_535 + 1}"
            )
        case OSError(errno=errno.EACCES):
            return (
                f"Port {port} of {address} is not for everyone: choose one above 1023 with "
                f"{choose}8000"
            )
        case socket.gaierror() | OSError(errno=errno.EADDRNOTAVAIL):
            return f"{address} is no address of this machine: 127.0.0.1 is, and 0.0.0.0 is all"
    return f"Nothing can listen on port {port} of {address}: {error}"


def main(arguments: list[str]) -> None:
    """Serve the settings' ASGI_APPLICATION until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m realtime.server", description=main.__doc__)
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="TCP port to listen on")
    options = parser.parse_args(arguments)
    address, port = options.bind, options.port
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    with explained():
        application = get_default_application()
    # What has been imported stays: it need not be looked through again and again, and a burst of
    # messages to a thousand sockets is no reason to look through all of those either (20 % of it).
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    if settings.METRICS_PORT:
        try:
            metrics.serve(address, settings.METRICS_PORT)
        except OSError as error:
            sys.exit(cannot_listen(error, address, settings.METRICS_PORT, "METRICS_PORT="))
    try:
        Server(
            application, endpoints=build_endpoint_description_strings(host=address, port=port)
        ).run()
    except (OSError, OverflowError) as error:
        sys.exit(cannot_listen(error, address, port, "--port "))


if __name__ == "__main__":
    main(sys.argv[1:])
