"""Appending to streams, and reading them."""

import uuid

import pytest
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps

from accounts.models import User
from realtime import streams
from realtime.models import Entry, Stream, UserEvent, UserStream
from realtime.notification import notify_user, notify_users
from realtime.publisher import Hint, publisher
from realtime.streams import StreamBusy


@pytest.fixture
def published(monkeypatch):
    """The hints that were published, instead of their delivery."""
    hints: list[Hint] = []
    monkeypatch.setattr(publisher, "publish", hints.extend)
    return hints


@pytest.mark.django_db(transaction=True)
def test_events_are_numbered_from_one(user, published):
    """Each event gets the next number, and its hint says so."""
    assert [notify_user(user.pk, {"n": n}) for n in range(3)] == [1, 2, 3]
    assert [hint["seq"] for hint in published] == [1, 2, 3]
    assert published[0]["text"] == '{"n":0,"seq":1}'
    assert [event.event() for event in UserEvent.objects.all()] == [
        {"n": 0, "seq": 1},
        {"n": 1, "seq": 2},
        {"n": 2, "seq": 3},
    ]


@pytest.mark.django_db(transaction=True)
def test_a_rollback_undoes_the_event_and_its_number(user, published):
    """A transaction that fails leaves no event, no gap and no hint."""
    notify_user(user.pk, {"n": 0})
    with transaction.atomic():
        notify_user(user.pk, {"n": 1})
        transaction.set_rollback(True)

    assert notify_user(user.pk, {"n": 2}) == 2
    assert [hint["text"] for hint in published] == ['{"n":0,"seq":1}', '{"n":2,"seq":2}']


@pytest.mark.django_db(transaction=True)
def test_a_hint_leaves_with_the_commit(user, published):
    """Inside a transaction nothing is published yet, stored or not."""
    with transaction.atomic():
        notify_user(user.pk, {"n": 0})
        notify_user(user.pk, {"n": 1}, durable=False)
        assert published == []

    assert [hint["seq"] for hint in published] == [1, None]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("user_id", "error"), [(12345, "no user has the id 12345"), ("ada", "a number but got 'ada'")]
)
def test_an_unknown_user_is_an_error_at_once(user_id, error):
    """The caller learns of a wrong id now, not when the transaction commits."""
    with pytest.raises(ValueError, match=error):
        notify_user(user_id, {"n": 1})

    assert not UserStream.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_notify_users_tells_each_user_once(user, other_user, published):
    """Many users are told in one transaction, whatever the order and number of their ids."""
    notify_users([other_user.pk, user.pk, other_user.pk], {"n": 1})

    assert len(published) == 2
    assert {hint["group"] for hint in published} == {
        f"realtime.userstream.{user.pk}",
        f"realtime.userstream.{other_user.pk}",
    }
    assert UserEvent.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_notify_users_tells_all_or_none(user, published):
    """One unknown user among many undoes the whole call."""
    with pytest.raises(ValueError, match="no user has the id 999"):
        notify_users([user.pk, 999], {"n": 1})

    assert published == []
    assert not UserEvent.objects.exists()


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
def test_signals_for_many_need_no_database(user, other_user, published):
    """Events that are not durable go to each user without a row."""
    notify_users([user.pk, other_user.pk], {"n": 1}, durable=False)

    assert [hint["seq"] for hint in published] == [None, None]
    assert not UserStream.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_many_users_take_a_bounded_number_of_queries(django_assert_max_num_queries, published):
    """The plural costs a few queries for a few hundred users, not a few for each."""
    users = User.objects.bulk_create(
        [User(username=f"user{n}", email=f"user{n}@example.com") for n in range(300)]
    )

    with django_assert_max_num_queries(12):
        notify_users([user.pk for user in users], {"n": 1})

    assert len(published) == 300


def test_writers_at_once_leave_no_gap(at_once, user, published):
    """Eight threads that write to one user get each number once."""
    at_once(*[lambda: [notify_user(user.pk, {"n": n}) for n in range(10)]] * 8)

    assert sorted(hint["seq"] for hint in published) == list(range(1, 81))
    assert UserStream.objects.get(pk=user.pk).head == 80


@pytest.mark.django_db(transaction=True)
def test_a_locked_stream_is_a_clear_error(user, published, short_lock_timeout, held):
    """A caller whose stream is held by another transaction gets a bounded, named error."""
    notify_user(user.pk, {"n": 0})

    with (
        held(lambda: notify_user(user.pk, {"n": 1})),
        pytest.raises(StreamBusy, match="locked by another transaction"),
    ):
        notify_user(user.pk, {"n": 2})

    assert [event.payload["n"] for event in UserEvent.objects.all()] == [0, 1]


@pytest.mark.django_db(transaction=True)
def test_other_database_errors_are_not_disguised(user, monkeypatch):
    """An operational error that is no lock reaches the caller as it is."""
    from django.db import OperationalError

    def fail(*args: object) -> None:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(streams, "_advance", fail)

    with pytest.raises(OperationalError, match="disk"):
        notify_user(user.pk, {"n": 1})


@pytest.mark.parametrize(
    ("after", "limit", "size", "seqs"),
    [
        (0, 10, 10_000, [1, 2, 3, 4, 5]),
        (1, 2, 10_000, [2, 3]),
        (0, 10, 250, [1, 2, 3]),
        (3, 10, 1, [4]),
        (5, 10, 10_000, []),
    ],
    ids=["all", "so many", "so large", "one at least", "none"],
)
@pytest.mark.django_db(transaction=True)
def test_a_page_ends_at_its_number_or_its_size(user, published, after, limit, size, seqs):
    """The event that exceeds the size is the last one of its page."""
    for _ in range(5):
        notify_user(user.pk, {"text": "x" * 90})

    page = streams.texts_after(user.event_stream, after, limit, size)

    assert [seq for seq, _ in page] == seqs
    assert [text for _, text in page] == [hint["text"] for hint in published[after:][: len(seqs)]]


@pytest.mark.django_db
def test_positions_of_many_streams_are_one_query(user, other_user, django_assert_num_queries):
    """The repair tick asks once for all streams; one that is gone is left out."""
    UserStream.ensure([user.pk, other_user.pk])
    asked = [*UserStream.objects.all(), UserStream(user_id=999)]

    with django_assert_num_queries(1):
        found = streams.positions(asked)

    assert set(found) == {stream.group for stream in asked[:2]}
    assert {position.head for position in found.values()} == {0}


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
    assert [seq for seq, _ in streams.texts_after(first, 1, 10, 1000)] == [2, 3]


@pytest.mark.django_db
def test_streams_name_their_owner(user):
    """The admin pages show whose stream and which event it is."""
    notify_user(user.pk, {"n": 1})

    assert str(UserStream.objects.get()) == "events of ada"
    assert str(UserEvent.objects.get()) == f"event 1 of user {user.pk}"
