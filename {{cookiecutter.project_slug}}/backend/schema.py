"""The OpenAPI schema: served to one request at a time, with the refusals of every endpoint."""

from threading import Lock
from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

_making = Lock()
_COMPONENTS: dict[str, Any] = {
    "Refusal": {
        "type": "object",
        "description": "Why the request was refused.",
        "properties": {"detail": {"type": "string"}},
        "required": ["detail"],
    },
    "InvalidInput": {
        "type": "object",
        "description": "What is wrong with each field, or `detail` if the body is not JSON.",
        "additionalProperties": {
            "oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]
        },
    },
}
_DESCRIPTIONS = {
    "400": "The input is not valid; the answer says why.",
    "401": "There is no valid access token.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too many requests; `Retry-After` says for how many seconds to wait.",
    "503": "The database is busy or does not answer; try again after `Retry-After` seconds.",
}


class SchemaView(SpectacularAPIView):
    """Makes the schema. drf-spectacular keeps what it is making in the classes of all views, so two
    threads that do so at once mix up their work, or fail."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the schema, as YAML or JSON."""
        with _making:
            return super().get(request, *args, **kwargs)


def add_refusals(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add to each operation what the framework refuses by itself, and a body to every refusal.

    A postprocessing hook of drf-spectacular: takes the schema and returns it.
    """
    result["components"]["schemas"] |= _COMPONENTS
    for path in result["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            for code in _refusals(operation):
                responses.setdefault(code, {"description": _DESCRIPTIONS[code]})
            for code, response in responses.items():
                if code >= "400":
                    kind = "InvalidInput" if code == "400" else "Refusal"
                    schema = {"$ref": f"#/components/schemas/{kind}"}
                    response.setdefault("content", {"application/json": {"schema": schema}})
            operation["responses"] = dict(sorted(responses.items()))
    return result


def _refusals(operation: dict[str, Any]) -> list[str]:
    codes = ["429", "503"]
    if "requestBody" in operation:
        codes += ["400", "413", "415"]
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
        codes.append("400")
    if operation.get("security") and all(operation["security"]):
        codes.append("401")
    return codes
