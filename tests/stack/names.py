"""A name server, in the place of Docker's."""

import socket
import socketserver
import struct
import threading
from typing import Any


class NameServer(socketserver.UDPServer):
    """Answers with the IPv4 addresses that `names` has at that moment."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        super().__init__(("127.0.0.1", 0), Query)
        self.names = names
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}).start()

    def close(self) -> None:
        """Stop answering."""
        self.shutdown()
        self.server_close()


class Query(socketserver.BaseRequestHandler):
    """One question and its answer (RFC 1035, section 4.1)."""

    server: NameServer
    request: tuple[bytes, Any]

    def handle(self) -> None:
        """Answer with A records that are good for a second."""
        query, listener = self.request
        labels, position = [], 12
        while length := query[position]:
            labels.append(query[position + 1 : position + 1 + length].decode())
            position += 1 + length
        addresses = self.server.names.get(".".join(labels), [])
        answer = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0)
        answer += query[12 : position + 5]
        for address in addresses:
            answer += struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address)
        listener.sendto(answer, self.client_address)
