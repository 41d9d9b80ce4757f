"""The frames that the protocol's description allows, to hold every frame of the tests to it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

DESCRIPTION = Path(__file__).resolve().parents[2] / "asyncapi.yaml"


def check_frame(text: str | bytes) -> dict[str, Any]:
    """Return the event of a frame from the server, if `asyncapi.yaml` describes it.

    Raises:
        AssertionError: no schema of a server's frame fits.
    """
    event: dict[str, Any] = json.loads(text)
    schema = _schemas().get(event.get("type", ""), _schemas()["event"])
    errors = [error.message for error in schema.iter_errors(event)]
    assert not errors, f"asyncapi.yaml does not allow {text!r}: {errors}"
    return event


@cache
def _schemas() -> dict[str, Draft7Validator]:
    components = yaml.safe_load(DESCRIPTION.read_text("utf-8"))["components"]
    schemas = {
        message["payload"]["$ref"].rpartition("/")[2]: message["name"]
        for message in components["messages"].values()
    }
    return {
        name: Draft7Validator({**components["schemas"][schema], "components": components})
        for schema, name in schemas.items()
    }
