"""What Prometheus can read of a server process, besides its memory, CPU time and open files."""

from prometheus_client import Counter, Gauge, start_http_server

from .bus import publisher

SOCKETS = Gauge("realtime_sockets", "Sockets that are open.")
CLOSED = Counter("realtime_closed", "Sockets that the server has closed, by close code.", ["code"])
WAITING = Gauge("realtime_hints_waiting", "Hints that wait for the channel layer.")
WAITING.set_function(lambda: len(publisher))


def serve(address: str, port: int) -> None:
    """Answer Prometheus on a port of its own, which nobody outside should reach.

    Args:
        address: the IP address to listen on.
        port: the TCP port.

    Raises:
        OSError: the port is taken.
    """
    start_http_server(port, address)
