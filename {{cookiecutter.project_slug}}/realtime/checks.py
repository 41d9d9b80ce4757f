"""What a model of a stream must be, told before the first event is lost."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.db import models

from .models import Entry, Stream

PLACE = ("stream", "seq")


@checks.register(checks.Tags.models)
def streams_that_work(
    app_configs: Sequence[AppConfig] | None, **_: Any
) -> list[checks.CheckMessage]:
    """Refuse models of streams that cannot work, each with the way out."""
    models = [
        model
        for config in app_configs or apps.get_app_configs()
        for model in config.get_models()
        if issubclass(model, Stream)
    ]
    return [
        checks.Error(problem, hint=hint, obj=model, id=f"realtime.{number}")
        for model in models
        for number, problem, hint in problems(model)
    ]


def problems(stream: type[Stream]) -> Iterator[tuple[str, str, str]]:
    """Return what is wrong with a model of a stream: a number, a sentence, and the way out."""
    name = stream.__name__
    if stream._meta.proxy or any(issubclass(parent, Stream) for parent in stream._meta.parents):
        yield (
            "E001",
            f"{name} inherits from a stream that has a table: neither hears of the other's events.",
            "Let both inherit from an abstract model, or use that stream itself.",
        )
        return
    relations: dict[str, Any] = {field.name: field for field in stream._meta.related_objects}
    relation = relations.get("entries")
    if (
        relation is None
        or not issubclass(entry := relation.related_model, Entry)
        or type(relation.field) is not models.ForeignKey
        or relation.field.name != "stream"
        or relation.field.target_field is not stream._meta.pk
    ):
        yield (
            "E002",
            f"{name} has no entries.",
            "Define an Entry with the field stream = models.ForeignKey("
            f'{name}, on_delete=models.CASCADE, related_name="entries").',
        )
        return
    if entry._meta.parents:
        yield (
            "E003",
            f"{entry.__name__} inherits from a model that has a table: its rows cannot be written "
            "many at a time.",
            "Let both inherit from an abstract Entry.",
        )
    if not any(
        isinstance(constraint, models.UniqueConstraint)
        and tuple(constraint.fields) == PLACE
        and constraint.condition is None
        for constraint in entry._meta.constraints
    ):
        yield (
            "E004",
            f"{entry.__name__} lets two entries have the same number.",
            "Let its Meta inherit from Entry.Meta, and add to Entry.Meta.constraints.",
        )
