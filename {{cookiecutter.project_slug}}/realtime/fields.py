"""How the payload of an event is stored."""

from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.fields import json
from django.db.models.functions import Cast

from .frames import encode


class PayloadField(models.JSONField):
    """A JSON object, stored as the text that is sent, so that what is replayed is the same.

    PostgreSQL's jsonb would sort its keys, and write 1e308 in 309 digits. Rows can be found by what
    is in it as by any `JSONField`, though without an index.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("encoder", DjangoJSONEncoder)
        super().__init__(*args, **kwargs)

    def get_internal_type(self) -> str:
        """Return whose columns it has."""
        return "TextField"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """Return the text of a payload."""
        return value if hasattr(value, "as_sql") else encode(value)

    def get_transform(self, name: str) -> Any:
        """Return what finds the key `name` of a payload."""
        find = super().get_transform(name)
        return find and (lambda text: find(_as_json(text)))


class JSONLookup:
    """Looks into a payload."""

    def __init__(self, text: Any, sought: Any) -> None:
        super().__init__(_as_json(text), sought)  # type: ignore[call-arg]


for lookup in (json.DataContains, json.ContainedBy, json.HasKey, json.HasKeys, json.HasAnyKeys):
    PayloadField.register_lookup(type(lookup.__name__, (JSONLookup, lookup), {}))


def _as_json(text: Any) -> Cast:
    return Cast(text, models.JSONField())
