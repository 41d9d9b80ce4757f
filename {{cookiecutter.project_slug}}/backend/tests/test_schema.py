"""The OpenAPI schema: complete, the project's own, and with the refusals of every endpoint."""

import os
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema as a client gets it."""
    return Client().get("/api/schema/", {"format": "json"}).json()


@pytest.fixture
def operation(schema: dict[str, Any]) -> Any:
    """A function that gives an operation's responses: status -> the name of its body's schema."""

    def responses(method: str, path: str) -> dict[str, str]:
        return {
            code: next(iter(response.get("content", {None: {"schema": {}}}).values()))["schema"]
            .get("$ref", "")
            .rpartition("/")[2]
            for code, response in schema["paths"][path][method]["responses"].items()
        }

    return responses


def test_it_is_made_without_warnings():
    """Every endpoint is described well enough for drf-spectacular not to guess."""
    options = {"validate": True, "fail_on_warn": True, "format": "openapi-json"}

    call_command("spectacular", file=os.devnull, **options)


def test_it_speaks_of_this_project(schema: dict[str, Any]):
    """Title and description are the project's own, letter for letter."""
    assert schema["info"]["title"] == settings.PROJECT_TITLE
    assert schema["info"]["description"] == settings.PROJECT_DESCRIPTION


def test_every_operation_is_explained(schema: dict[str, Any]):
    """Each has a summary, and a description that no other path has."""
    descriptions: list[str] = []
    for operations in schema["paths"].values():
        assert all(operation["summary"] for operation in operations.values())
        descriptions += {operation["description"] for operation in operations.values()}
    assert len(descriptions) == len(set(descriptions))


def test_an_operation_for_users(operation):
    """Without a token it is refused, and what it answers otherwise comes first."""
    assert operation("get", "/api/users/me/") == {
        "200": "User",
        "401": "Refusal",
        "429": "Refusal",
        "503": "Refusal",
    }


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
        "503": "Refusal",
    }


def test_an_operation_with_credentials_in_its_body(operation):
    """Wrong ones are refused as well."""
    assert operation("post", "/api/token/")["401"] == "Refusal"
