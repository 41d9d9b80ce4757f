"""What `check` says of models of streams."""

import pytest
from django.core.checks import run_checks
from django.db import models
from django.test.utils import isolate_apps
from realtime.checks import problems
from realtime.models import Entry, Stream, UserStream


class Meta:
    """Of models that are made for a test."""

    app_label = "realtime"


def stream(base=Stream, **attributes):
    """Return a model of a stream."""
    return type(Stream)("Order", (base,), {"Meta": Meta, "__module__": __name__} | attributes)


def entry(stream, meta=Entry.Meta, *bases, **foreign_key):
    """Return a model of its entries."""
    options = {"on_delete": models.CASCADE, "related_name": "entries"} | foreign_key
    attributes = {
        "stream": models.ForeignKey(stream, **options),
        "Meta": type("Meta", (meta,), {"app_label": "realtime"}),
        "__module__": __name__,
    }
    return type(Entry)("OrderEvent", bases or (Entry,), attributes)


def proxy():
    """Another face of users' streams."""
    return stream(UserStream, Meta=type("Meta", (Meta,), {"proxy": True}))


def table_of_its_own():
    """More columns beside those of another stream."""
    return stream(UserStream)


def no_entries():
    """Nothing refers to it."""
    return stream()


def entries_by_another_name():
    """The foreign key has no related name."""
    order = stream()
    entry(order, related_name="events")
    return order


def something_else_as_entries():
    """What has the related name is no entry."""
    order = stream()
    fields = {"stream": models.ForeignKey(order, models.CASCADE, related_name="entries")}
    type(models.Model)("Row", (models.Model,), fields | {"Meta": Meta, "__module__": __name__})
    return order


def entries_by_another_key():
    """The foreign key is not to the primary key."""
    order = stream(number=models.IntegerField(unique=True))
    entry(order, to_field="number")
    return order


def entries_in_two_tables():
    """They have columns of a model of another kind."""
    order = stream()
    base = type(models.Model)("Base", (models.Model,), {"Meta": Meta, "__module__": __name__})
    entry(order, Entry.Meta, base, Entry)
    return order


def no_constraint():
    """Its own Meta has replaced that of `Entry`."""
    order = stream()
    entry(order, type("Own", (), {}))
    return order


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (proxy, ["E001"]),
        (table_of_its_own, ["E001"]),
        (no_entries, ["E002"]),
        (entries_by_another_name, ["E002"]),
        (something_else_as_entries, ["E002"]),
        (entries_by_another_key, ["E002"]),
        (entries_in_two_tables, ["E003"]),
        (no_constraint, ["E004"]),
    ],
)
def test_models_that_cannot_work(make, expected):
    """Each is refused, with a sentence and the way out."""
    with isolate_apps("realtime"):
        found = list(problems(make()))

    assert [number for number, _, _ in found] == expected
    assert all(problem.endswith(".") and hint.endswith(".") for _, problem, hint in found)


def test_models_that_work():
    """Nothing is said of those of the project, nor of one with entries as they have to be."""
    assert not [message for message in run_checks() if (message.id or "").startswith("realtime")]
    with isolate_apps("realtime"):
        order = stream()
        entry(order)
        assert list(problems(order)) == []
