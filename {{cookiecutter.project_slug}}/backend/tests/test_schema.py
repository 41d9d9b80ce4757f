"""The OpenAPI schema tells the refusals too."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import Client


@pytest.fixture
def operation(client: Client) -> Any:
    """A function that gives an operation's responses: status -> the name of its body's schema."""
    schema = client.get("/api/schema/", {"format": "json"}).json()

    def responses(method: str, path: str) -> dict[str, str]:
        return {
            code: next(iter(response.get("content", {None: {"schema": {}}}).values()))["schema"]
            .get("$ref", "")
            .rpartition("/")[2]
            for code, response in schema["paths"][path][method]["responses"].items()
        }

    return responses


def test_every_operation_is_explained(client: Client):
    """Each has a summary, and a description that no other path has."""
    paths = client.get("/api/schema/", {"format": "json"}).json()["paths"]

    descriptions: list[str] = []
    for operations in paths.values():
        assert all(operation["summary"] for operation in operations.values())
        descriptions += {operation["description"] for operation in operations.values()}
    assert len(descriptions) == len(set(descriptions))


def test_an_operation_for_users(operation):
    """Without a token it is refused, and what it answers otherwise comes first."""
    assert operation("get", "/api/users/me/") == {"200": "User", "401": "Refusal", "429": "Refusal"}


def test_an_operation_with_a_query(operation):
    """Its parameters may be wrong."""
    assert operation("get", "/api/realtime/events/")["400"] == "InvalidInput"


def test_an_operation_with_a_body(operation):
    """The body may be wrong, too large or no JSON; who has no token yet needs none."""
    assert operation("post", "/api/users/") == {
        "201": "Registration",
        "400": "InvalidInput",
        "403": "Refusal",
        "413": "Refusal",
        "415": "Refusal",
        "429": "Refusal",
    }


def test_an_operation_with_credentials_in_its_body(operation):
    """Wrong ones are refused as well."""
    assert operation("post", "/api/token/")["401"] == "Refusal"


def test_many_ask_for_it_at_once():
    """Each of them gets the same, however often the interpreter goes from one to the other."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def schema(_: int) -> bytes:
        return Client().get("/api/schema/").content

    try:
        with ThreadPoolExecutor(8) as threads:
            schemas = set(threads.map(schema, range(16)))
    finally:
        sys.setswitchinterval(interval)
    assert len(schemas) == 1
