"""The REST API keeps to its OpenAPI schema, whatever it is sent."""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ..faults.cluster import Cluster
from ..faults.servers import Daphne
from ..template import ROOT, TOOLS, run

pytestmark = pytest.mark.xdist_group("connections")

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMA = "/api/schema/?format=json"
PASSWORD = "correct-horse-battery"
DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgresql"])
# Users whose refresh tokens are used up by logging out and the like.
LEAVERS = 8
# Messages that may be edited and deleted.
MESSAGES = 30
# No request is refused for coming too often.
RATES = {
    f"{scope}_RATE": "1000000/s"
    for scope in ("REGISTER", "TOKEN", "REFRESH", "TOKEN_USER", "TICKET", "WRITE")
}

# Bodies that no endpoint has a use for.
BODIES = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[1]",
    "text": b'"a"',
    "an object that is cut off": b'{"a":',
    "infinity": b"1e999",
    "not a number": b"NaN",
    "5,000 digits": b"1" * 5_000,
    "no UTF-8": b"\xff\xfe",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "100,000 open brackets": b"[" * 100_000,
    "100,000 nested objects": b'{"a":' * 100_000,
    "more than 1 MiB": b'{"a": "' + b"a" * (1 << 20) + b'"}',
}
# JSON values that some field or database has no place for.
VALUES = (
    "null",
    "true",
    "[]",
    "{}",
    '[["a"]]',
    "-1",
    "1.5",
    "1e400",
    "9223372036854775808",
    "1" * 4_000,
    '""',
    r'"\u0000"',
    r'"a\u0000"',
    r'"\ud800"',
    r'"\udfff\ud800"',
    json.dumps("a" * 70_000),
    json.dumps("9" * 400),
    json.dumps("eyJhbGciOiJIUzI1NiJ9." * 3),
)
PATHS = (
    "/api/chat/rooms/lobby/messages/9223372036854775808/",
    f"/api/chat/rooms/lobby/messages/{'9' * 400}/",
    f"/api/chat/rooms/lobby/messages/{'9' * 5_000}/",
    "/api/chat/rooms/lobby/messages/-1/",
    "/api/chat/rooms/lobby/messages/?since=9223372036854775808",
    "/api/chat/rooms/lobby/messages/?before=%00",
    "/api/chat/rooms/?after=%00",
    "/api/chat/rooms/?after=%ED%A0%80",
    "/api/chat/rooms/?joined=%00",
    "/api/chat/rooms/%00/messages/",
    "/api/chat/rooms/%ED%A0%80/messages/",
    "/api/realtime/events/?since=99999999999999999999",
    f"/api/realtime/events/?since={'9' * 5_000}",
    "/api/realtime/events/?limit=%F0%9F",
    "/api/realtime/events/?limit=1&limit=%FF",
    "/api/%00/",
)


class Account(NamedTuple):
    """A user that has signed in."""

    name: str
    access: str
    refresh: str


def post(daphne: Daphne, path: str, token: str = "", **body: Any) -> tuple[int, Any]:
    """Send JSON, and return the status and the JSON of the answer."""
    data = json.dumps(body).encode()
    status, text = daphne.request("POST", path, token, data, Content_Type="application/json")
    return status, json.loads(text) if text else None


def sign_up(daphne: Daphne, name: str) -> Account:
    """Register somebody and sign in."""
    made = post(
        daphne, "/api/users/", username=name, email=f"{name}@example.com", password=PASSWORD
    )
    assert made[0] == 201, made
    status, tokens = post(daphne, "/api/token/", username=name, password=PASSWORD)
    assert status == 200, tokens
    return Account(name, tokens["access"], tokens["refresh"])


def schemathesis(
    daphne: Daphne, folder: Path, dictionaries: dict[str, list[Any]], *phases: str, **users: str
) -> dict[str, set[int]]:
    """Run Schemathesis on a server, and return the statuses that each operation has answered with.

    Args:
        daphne: the server.
        folder: for its files.
        dictionaries: values that only this run has, by the names of schemathesis.toml.
        phases: Schemathesis's phases.
        users: what rest_users.py finds in the environment.
    """
    lines = [CONFIG.read_text("utf-8")]
    lines += [
        f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n"
        for name, values in dictionaries.items()
    ]
    config, report = folder / "schemathesis.toml", folder / "report.ndjson"
    config.write_text("\n".join(lines), "utf-8")
    server = f"http://127.0.0.1:{daphne.port}"
    done = run(
        [
            *(TOOLS / "schemathesis", "--config-file", config, "run", server + SCHEMA),
            *("--phases", ",".join(phases), "--report", "ndjson", "--report-ndjson-path", report),
            # A stranger is refused: nothing to be warned of.
            *(() if users else ("--warnings", "off")),
        ],
        cwd=ROOT,
        env=os.environ | users | {"REST_SERVER": server, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout
    statuses = defaultdict(set)
    for label, status in answers(report):
        statuses[label].add(status)
    return statuses


def answers(report: Path) -> Iterator[tuple[str, int]]:
    """Return the operation and the status of every answer to its method in the report."""
    with report.open(encoding="utf-8") as lines:
        for line in lines:
            scenario = json.loads(line).get("ScenarioFinished", {})
            recorder = scenario.get("recorder", {})
            for interaction in recorder.get("interactions", {}).values():
                method = interaction["request"]["method"]
                if interaction["response"] and recorder["label"].startswith(f"{method} "):
                    yield recorder["label"], interaction["response"]["status_code"]


async def serve(cluster: Cluster) -> Daphne:
    """Start a server that never refuses a request for coming too often."""
    await cluster.run(cluster.redis)
    environment = cluster.environment | RATES | {"DJANGO_SETTINGS_MODULE": "issued.settings"}
    return await cluster.run(Daphne("daphne", cluster.folder, cluster.project, environment))


@DATABASES
async def test_a_users_requests(cluster: Cluster, database: str) -> None:
    """Every operation works, and no request of a user gets an answer that is not in the schema."""
    phases = ["fuzzing", "stateful"]
    if database == "sqlite":  # Coverage takes longest, and is about schemas more than databases.
        phases.insert(0, "coverage")
    daphne = await serve(cluster)
    actor, changer, host, *guests = [
        await asyncio.to_thread(sign_up, daphne, name)
        for name in ("actor", "changer", "host", "guest1", "guest2", "guest3")
    ]
    leavers = [await asyncio.to_thread(sign_up, daphne, f"leaver{n}") for n in range(LEAVERS)]
    assert post(daphne, "/api/chat/rooms/", host.access, name="Lobby")[0] == 201
    assert post(daphne, "/api/chat/rooms/", actor.access, name="Den")[0] == 201
    for guest in guests:
        path = "/api/chat/rooms/den/invite/"
        assert post(daphne, path, actor.access, username=guest.name)[0] == 204
    path = "/api/chat/rooms/den/messages/"
    sent = [post(daphne, path, actor.access, text=str(n)) for n in range(MESSAGES)]
    dictionaries = {
        "access": [actor.access],
        "guest": [guest.name for guest in guests],
        "member": [host.name, changer.name],
        "others_room": ["lobby"],
        "own_message": [message["seq"] for _, message in sent],
        "no_wait": [0, 1],
        "own_room": ["den"],
        "own_stream": ["realtime", "chat/den"],
        "password": [PASSWORD],
        "refresh": [leaver.refresh for leaver in leavers],
    }

    statuses = await asyncio.to_thread(
        schemathesis,
        daphne,
        cluster.folder,
        dictionaries,
        *phases,
        REST_ACTOR_TOKEN=actor.access,
        REST_CHANGER=json.dumps({"username": changer.name, "password": PASSWORD}),
    )

    schema = json.loads(daphne.request("GET", SCHEMA)[1])
    operations = {
        f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item
    }
    assert operations <= set(statuses)
    assert not [name for name in operations if not any(code < 300 for code in statuses[name])]
    # Not one of all those requests has logged the user out.
    assert daphne.request("GET", "/api/users/me/", actor.access)[0] == 200


async def test_a_strangers_requests(cluster: Cluster) -> None:
    """Without a token all is refused but to register, and every refusal is in the schema."""
    daphne = await serve(cluster)
    texts = (
        "access",
        "guest",
        "member",
        "others_room",
        "own_room",
        "own_stream",
        "password",
        "refresh",
    )
    dictionaries = {name: [name] for name in texts} | {"own_message": [1], "no_wait": [0]}

    statuses = await asyncio.to_thread(
        schemathesis, daphne, cluster.folder, dictionaries, "coverage"
    )

    served = {name for name, codes in statuses.items() if any(code < 300 for code in codes)}
    assert served <= {"POST /api/users/"}


@DATABASES
async def test_unusable_values(cluster: Cluster) -> None:
    """What no schema describes is refused too, in JSON, and never a fault of the server."""
    daphne = await serve(cluster)
    user = await asyncio.to_thread(sign_up, daphne, "ada")
    assert post(daphne, "/api/chat/rooms/", user.access, name="Lobby")[0] == 201
    message = post(daphne, "/api/chat/rooms/lobby/messages/", user.access, text="hi")[1]

    def refused(method: str, path: str, body: bytes | None = None) -> None:
        status, text = daphne.request(
            method, path, user.access, body, Content_Type="application/json"
        )
        assert status < 500, (method, path, (body or b"")[:200], text)
        if status >= 400:
            json.loads(text)

    def send() -> None:
        for path in PATHS:
            for method in ("GET", "POST", "PATCH", "DELETE"):
                refused(method, path, b'{"text": "a"}')
        schema = json.loads(daphne.request("GET", SCHEMA)[1])
        for method, template, fields in operations_with_bodies(schema):
            path = template.format(slug="lobby", seq=message["seq"])
            for body in BODIES.values():
                refused(method, path, body)
            for name in fields:
                for value in VALUES:
                    others = dict.fromkeys(fields, "a") | {name: "@"}
                    refused(method, path, json.dumps(others).replace('"@"', value).encode())

    await asyncio.to_thread(send)
    assert daphne.request("GET", "/api/users/me/", user.access)[0] == 200
    assert "Traceback" not in daphne.log.read_text()


def operations_with_bodies(schema: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Return the method, the path and the names of the fields of every operation that has some."""
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"][
                    "$ref"
                ]
                component = schema["components"]["schemas"][reference.rpartition("/")[2]]
                yield method.upper(), path, list(component["properties"])
