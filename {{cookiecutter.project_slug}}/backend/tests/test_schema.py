"""The OpenAPI schema tells the refusals too."""

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
