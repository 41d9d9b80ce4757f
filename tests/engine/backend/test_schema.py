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
