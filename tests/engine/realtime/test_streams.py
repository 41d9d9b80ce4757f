"""Appending to streams, and reading them."""

import uuid

import pytest
from channels.layers import BaseChannelLayer
from django.db import connection, models
from django.test.utils import CaptureQueriesContext, isolate_apps
from realtime import streams
from realtime.models import Entry, Stream, UserEvent, UserStream
from realtime.notification import notify_user, notify_users


@pytest.mark.django_db(transaction=True)
def test_new_streams_are_made_before_any_is_locked(user, other_user, published):
    """Who waits for a stream that another caller makes holds none for which that one waits."""
    notify_user(other_user.pk, {"n": 1})

    with CaptureQueriesContext(connection) as queries:
        notify_users([user.pk, other_user.pk], {"n": 2})

    table = UserStream._meta.db_table
    kinds = [
        "make" if query["sql"].startswith("INSERT") else "lock"
        for query in queries
        if f'INTO "{table}"' in query["sql"] or f'UPDATE "{table}"' in query["sql"]
    ]
    assert kinds == ["make", "lock"]


@pytest.mark.django_db(transaction=True)
def test_a_stream_that_is_deleted_meanwhile_is_an_error(user, other_user, published, monkeypatch):
    """A user who goes between the first look and the lock is an unknown one."""
    ensure = UserStream.ensure

    def delete_then(pks):
        ensure(pks)
        UserStream.objects.filter(pk=user.pk).delete()

    monkeypatch.setattr(UserStream, "ensure", delete_then)

    with pytest.raises(ValueError, match="has just been deleted"):
        notify_users([user.pk, other_user.pk], {"n": 1})

    assert not UserEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_other_database_errors_are_not_disguised(user, monkeypatch):
    """An operational error that is no lock reaches the caller as it is."""
    from django.db import OperationalError

    def fail(*args: object) -> None:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(streams, "_advance", fail)

    with pytest.raises(OperationalError, match="disk"):
        notify_user(user.pk, {"n": 1})


@pytest.mark.django_db(transaction=True)
def test_a_number_beyond_what_a_client_can_hold_is_an_error(user, published):
    """JavaScript would take the next one for the same; nothing is stored."""
    UserStream.objects.create(user=user, head=2**53 - 2)
    assert notify_user(user.pk, {"n": 1}) == 2**53 - 1

    with pytest.raises(ValueError, match="has no number left"):
        notify_user(user.pk, {"n": 2})

    assert UserStream.objects.get().head == 2**53 - 1
    assert UserEvent.objects.count() == 1


def test_a_key_that_cannot_be_in_a_group_name():
    """Every process makes the same name of it, one that channel layers and columns take."""
    with isolate_apps("realtime"):

        class Page(Stream):
            path = models.CharField(primary_key=True, max_length=2000)

            class Meta:
                app_label = "realtime"

    layer = BaseChannelLayer()
    keys = ["home", "a b", "ü", "/x/", "", "x" * 2000, "y" * 2000]
    names = [Page.group_of(key) for key in keys]

    assert names[0] == Page(path="home").group == "realtime.page.home"
    assert len(set(names)) == len(keys)
    assert all(layer.require_valid_group_name(name) for name in names)


@pytest.fixture
def parcels(transactional_db):
    """A kind of stream whose keys are UUIDs."""
    with isolate_apps("realtime"):

        class Parcel(Stream):
            id = models.UUIDField(primary_key=True, default=uuid.uuid4)

            class Meta:
                app_label = "realtime"

        class ParcelEvent(Entry):
            stream = models.ForeignKey(Parcel, on_delete=models.CASCADE, related_name="entries")

            class Meta(Entry.Meta):
                app_label = "realtime"

    with connection.schema_editor() as editor:
        editor.create_model(Parcel)
        editor.create_model(ParcelEvent)
    yield Parcel
    with connection.schema_editor() as editor:
        editor.delete_model(ParcelEvent)
        editor.delete_model(Parcel)


def test_the_keys_of_a_stream_need_not_be_numbers(user, parcels, published):
    """A stream of one's own may have UUIDs, and stands beside those of users."""
    first, second = sorted((parcels.objects.create() for _ in range(2)), key=lambda row: row.pk)
    notify_user(user.pk, {"n": 0})

    assert streams.append(parcels, first.pk, {"n": 1}).seq == 1
    assert streams.append(parcels, str(first.pk), {"n": 2}).seq == 2
    entries = streams.append_all(parcels, [second.pk, first.pk], {"n": 3})
    assert [entry.seq for entry in entries] == [3, 1]

    found = streams.positions([first, second, user.event_stream])
    assert {group: position.head for group, position in found.items()} == {
        first.group: 3,
        second.group: 1,
        user.event_stream.group: 1,
    }
    assert [hint["group"] for hint in published[1:3]] == [first.group] * 2
    assert [seq for seq, _ in streams.texts_after([(first, 1)])[first.group, 1]] == [2, 3]
