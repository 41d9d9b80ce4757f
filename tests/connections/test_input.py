"""What a hostile client may send, and what the logs may say."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import quote

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_sync

from ..faults.cluster import Cluster
from ..faults.servers import Daphne
from ..template import PROJECT
from .sockets import close_code, connect, ready

pytestmark = pytest.mark.xdist_group("connections")

# Frames that are tried on each of the two kinds of sockets.
FRAMES = 1_500
ADDRESSES = 400
MARK = "never-in-a-log"
PING = '{"type": "realtime.ping"}'
# What the protocol lists for a client's fault.
CODES = {
    int(code)
    for code in re.findall(r"^\| (44\d\d) \|", (PROJECT / "README.md").read_text(), re.MULTILINE)
}


def repeatable(count: int) -> settings:
    """Return Hypothesis's settings for so many examples, the same ones in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Message(NamedTuple):
    """What goes over the wire, and whether the answer may be the end of the connection itself."""

    content: str | bytes | list[bytes]
    text: bool | None = None
    raw: bool = False
    violates: bool = False

    @property
    def is_ping(self) -> bool:
        """Whether the server answers it with a pong."""
        text = b"".join(self.content).decode() if isinstance(self.content, list) else self.content
        try:
            return not isinstance(text, bytes) and json.loads(text)["type"] == "realtime.ping"
        except (ValueError, TypeError, LookupError, RecursionError):
            return False

    def __repr__(self) -> str:
        """Leave out most of what is long."""
        content = repr(self.content)
        if len(content) > 500:
            content = f"{content[:400]}… ({len(content):,} characters)"
        return f"Message({content}, text={self.text}, raw={self.raw}, violates={self.violates})"


def messages(token: str) -> st.SearchStrategy[Message]:
    """Return anything that a client can send: sensible, nearly so, or not at all.

    Args:
        token: one that the server accepts.
    """
    # Surrogates, which Hypothesis leaves out by itself, go as JSON escapes.
    anything = st.text(st.characters(exclude_categories=()), max_size=40)
    texts = anything | st.sampled_from(["", "\0", "\ud800", "9" * 400, "é" * 50, MARK, MARK * 300])
    numbers = st.integers() | st.floats() | st.sampled_from([10**400, 2**63, -(2**63), 1e308])
    values = st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=10,
    )
    types = st.sampled_from(
        ["ping", "authenticate", "ready", "pong", "reset", "error", "", MARK]
    ).map("realtime.{}".format) | st.sampled_from(
        ["chat.message", "chat.typing", "chat.presence", "chat.edited", "notification", "ping", ""]
    )
    events = st.fixed_dictionaries(
        {"type": types},
        optional={
            "token": st.just(token) | values,
            "text": texts | values,
            "client_id": st.uuids().map(str) | values,
            "seq": values,
            MARK: values,
        },
    )
    whole = (events | st.fixed_dictionaries({"type": values}) | values).map(json.dumps)
    deep = st.builds(
        lambda part, count: part * count,
        st.sampled_from(["[", '{"a":', '{"type":', '[{"type":"realtime.ping"},']),
        st.integers(1, 2_500),
    )
    cut = st.builds(lambda text, end: text[: end % (len(text) + 1)], whole, st.integers(0))
    spoken = st.text(max_size=80)  # Text that is no JSON, but can be encoded.
    documents = whole | whole | deep | cut | spoken
    return st.one_of(
        documents.map(Message),
        documents.map(Message),
        st.binary(max_size=200).map(Message),
        st.binary(max_size=200).map(lambda data: Message(data, text=True, violates=True)),
        st.builds(fragments, documents, st.lists(st.integers(0, 200), max_size=4)),
        st.sampled_from([MARK * 6_000, "[" * 100_000]).map(Message),
        violations().map(lambda data: Message(data, raw=True, violates=True)),
    )


def fragments(text: str, cuts: Iterable[int]) -> Message:
    """Cut a text into fragments, anywhere: within a character too, and into nothing."""
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return Message([data[a:b] for a, b in pairwise(edges)], text=True)


def violations() -> st.SearchStrategy[bytes]:
    """Return frames that RFC 6455 (section 5) forbids."""
    mask = b"\0\0\0\0"
    return st.one_of(
        # A reserved bit, a reserved opcode.
        st.integers(0x90, 0xFF).map(lambda first: bytes((first, 0x80)) + mask),
        st.sampled_from([0x83, 0x87, 0x8B, 0x8F]).map(lambda first: bytes((first, 0x80)) + mask),
        # A continuation of nothing, a ping in fragments, a ping that is too long, a close of one
        # octet, a frame without a mask, a length over 63 bits.
        st.just(b"\x80\x80" + mask),
        st.just(b"\x09\x80" + mask),
        st.just(b"\x89\xfe\x00\x7e" + mask + bytes(126)),
        st.just(b"\x88\x81" + mask + b"a"),
        st.binary(min_size=1, max_size=100).map(lambda data: bytes((0x81, len(data))) + data),
        st.just(b"\x81\xff" + b"\xff" * 8 + mask),
    )


class Sender:
    """Sends one message after another, on a new connection whenever the last one was closed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection: ClientConnection | None = None
        #: How many connections ended with each code, or none.
        self.codes: Counter[int | None] = Counter()
        self._connected = ExitStack()

    def try_out(self, message: Message) -> None:
        """Send a message: the server goes on answering, or closes with a code for what is wrong."""
        connection = self.connection or self.connect()
        try:
            if message.raw:
                connection.socket.sendall(message.content)
            else:
                connection.send(message.content, text=message.text)
            connection.send(PING)
            for _ in range(1 + message.is_ping):
                self.receive(connection, "realtime.pong")
            self.connection = connection
        except websockets.ConnectionClosed as closed:
            self.close()
            code = closed.rcvd.code if closed.rcvd else None
            self.codes[code] += 1
            assert code in CODES or (code is None and message.violates), code

    def connect(self) -> ClientConnection:
        """Open a connection."""
        options = {"compression": None, "proxy": None, "ping_interval": None, "close_timeout": 1}
        connection = self._connected.enter_context(connect_sync(self.url, **options))
        self.receive(connection, "realtime.ready")
        return connection

    def receive(self, connection: ClientConnection, kind: str) -> None:
        """Read up to a frame of this type."""
        while json.loads(connection.recv(timeout=15))["type"] != kind:
            pass

    def close(self) -> None:
        """Close what is open."""
        self.connection = None
        self._connected.close()


@pytest.mark.parametrize("path", ["/ws/realtime/", "/ws/chat/lobby/"])
async def test_frames(cluster: Cluster, path: str) -> None:
    """Whatever a client sends is answered or closes its socket with a listed code."""
    await cluster.run(cluster.redis)
    environment = cluster.environment | {"REALTIME_FRAMES_BURST": "1000000"}
    daphne = await cluster.run(Daphne("daphne", cluster.folder, cluster.project, environment))
    (person,) = await cluster.people(1)
    room = {"token": person.token, "body": b'{"name": "Lobby"}', "Content_Type": "application/json"}
    assert daphne.request("POST", "/api/chat/rooms/", **room)[0] == 201
    sender = Sender(f"{daphne.url}{path}?token={person.token}")

    @given(messages(person.token))
    @repeatable(FRAMES)
    def try_all(message: Message) -> None:
        sender.try_out(message)

    began = daphne.running
    await asyncio.to_thread(try_all)
    sender.try_out(Message(PING))
    sender.close()

    # Not everything was turned down at once.
    assert {4401, 4413, None} <= set(sender.codes)
    assert sender.codes.total() < FRAMES / 2
    assert daphne.running is began
    assert daphne.answers()
    log = daphne.log.read_text()
    assert "Traceback" not in log
    assert MARK not in log


def addresses(token: str, epoch: str) -> st.SearchStrategy[str]:
    """Return paths with a query, as a client may ask for a socket.

    Args:
        token: one that the server accepts.
        epoch: that of its user's stream.
    """
    # Any octets, be they UTF-8 or not.
    anything = st.binary(max_size=20) | st.text(max_size=20).map(str.encode)
    values = anything.map(quote)
    numbers = st.integers(-(2**70), 2**70).map(str)
    since = numbers | st.sampled_from(["0", "1", "9" * 5_000, "%D9%A3"]) | values
    query = st.lists(
        st.tuples(st.just("since"), since)
        | st.tuples(st.just("epoch"), st.just(epoch) | st.uuids().map(str) | values)
        | st.tuples(st.sampled_from(["token", "ticket", "bearer", MARK]), values)
        | st.tuples(st.sampled_from(["token", "ticket"]), st.just(MARK)),
        max_size=5,
    )
    paths = st.sampled_from(["/ws/realtime/", "/ws/realtime/", "/ws/chat/lobby/", "/ws/"]) | (
        values.map("/ws/chat/{}/".format) | values.map("/ws/{}".format)
    )
    # With a good token in front most of the time, or else everything would end there.
    tokens = st.sampled_from([[("token", token)], [("token", token)], []])
    return st.builds(
        lambda path, first, others: f"{path}?" + "&".join("=".join(p) for p in [*first, *others]),
        *(paths, tokens, query),
    )


def first_word(url: str) -> str | int | None:
    """Return the type of the first frame, the code of the close, or the status of the refusal."""
    try:
        with connect_sync(url, compression=None, proxy=None) as connection:
            return json.loads(connection.recv(timeout=15))["type"]
    except websockets.ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def test_addresses(cluster: Cluster) -> None:
    """Whatever the address of a socket is, it opens, closes with a listed code or is refused."""
    await cluster.run(cluster.redis)
    daphne = await cluster.run(
        Daphne("daphne", cluster.folder, cluster.project, cluster.environment)
    )
    (person,) = await cluster.people(1)
    events = json.loads(daphne.request("GET", "/api/realtime/events/", person.token)[1])
    met: set[str | int | None] = set()

    @given(addresses(person.token, events["epoch"]))
    @repeatable(ADDRESSES)
    def try_all(address: str) -> None:
        end = first_word(daphne.url + address)
        assert end in {"realtime.ready", 400, 403, 404, *CODES}
        met.add(end)

    await asyncio.to_thread(try_all)

    assert {"realtime.ready", 4401, 4404} <= met
    log = daphne.log.read_text()
    assert "Traceback" not in log
    assert MARK not in log


async def test_secrets(cluster: Cluster) -> None:
    """No log of any server has a token or a ticket, whatever it was used for."""
    (daphne,) = await cluster.start()
    gunicorn = await cluster.gunicorn()
    (person,) = await cluster.people(1)
    token = person.token
    secrets = [token, token[:-3] + "xyz"]
    _, body = await asyncio.to_thread(daphne.request, "POST", "/api/realtime/ticket/", token)
    ticket = json.loads(body)["ticket"]

    await (await ready(daphne.url, ticket=ticket)).close()
    for secret in secrets:
        for path in ("/ws/realtime/", "/ws/none/", "/elsewhere/"):
            socket = await connect(daphne.url, path, token=secret)
            await socket.close()
            bearer = [websockets.Subprotocol(name) for name in ("bearer", secret)]
            await (await connect(daphne.url, path, subprotocols=bearer)).close()
        for server in (daphne, gunicorn):
            for path in ("/api/users/me/", "/api/none/", "/none/", "/admin/"):
                for method in ("GET", "POST"):
                    request = (method, f"{path}?token={secret}&ticket={ticket}", secret)
                    status, _ = await asyncio.to_thread(server.request, *request)
                    assert status < 500
    assert await close_code(await connect(daphne.url, ticket=ticket)) == 4401
    await asyncio.to_thread(daphne.stop)
    await asyncio.to_thread(gunicorn.stop)

    logs = {log.name: log.read_text() for log in cluster.folder.glob("*.log")}
    assert {daphne.log.name, gunicorn.log.name} <= set(logs)
    assert any(logs.values())
    signatures = [ticket, *(secret.rpartition(".")[2] for secret in secrets)]
    for name, text in logs.items():
        assert not [part for part in signatures if part in text], name
