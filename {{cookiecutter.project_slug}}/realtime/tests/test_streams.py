"""Appending to streams, and reading them."""

from typing import Any

import pytest
from django.db import transaction

from accounts.models import User
from realtime import streams
from realtime.bus import Hint, publisher
from realtime.models import UserEvent, UserStream
from realtime.notification import notify_user, notify_users
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
def test_what_is_replayed_is_what_was_sent(user, published):
    """To the byte: the keys in their order, and numbers and letters as they were."""
    notify_user(user.pk, {"z": 1e308, "a": {"é": "ü", "b": [-0.0, 1.10, 2**53 - 1]}, "": " \u2028"})
    stream = user.event_stream

    page = streams.texts_after([(stream, 0)])[stream.group, 0]

    assert page == [(1, published[0]["text"])]
    assert published[0]["text"].startswith('{"z":1e+308,"a":{"é":"ü","b":[-0.0,1.1,')


@pytest.mark.django_db
def test_events_can_be_found_by_what_is_in_them(user):
    """A payload is stored as text, and looked into as JSON."""
    for n in range(3):
        notify_user(user.pk, {"type": "a" if n else "b", "n": n, "deep": {"list": [n]}})
    events = UserEvent.objects.order_by("seq")

    assert [event.seq for event in events.filter(payload__type="a")] == [2, 3]
    assert [event.seq for event in events.filter(payload__deep__list__0__gt=1)] == [3]
    assert list(events.values_list("payload__n", flat=True)) == [0, 1, 2]
    assert events.filter(payload__has_key="deep").count() == 3
    assert events.get(payload=events[0].payload) == events[0]
    assert not events.filter(payload__missing__isnull=False).exists()


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

    assert [message.get("seq") for message in published] == [1, None]


@pytest.mark.django_db
def test_an_unknown_user_is_an_error_at_once():
    """The caller learns of a wrong id now, not when the transaction commits."""
    with pytest.raises(ValueError, match="no user has the id 12345"):
        notify_user(12345, {"n": 1})
    with pytest.raises(ValueError, match="“ada” value must be an integer"):
        notify_user("ada", {"n": 1})  # type: ignore[arg-type]

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
def test_a_key_may_be_spelled_in_other_ways(user, published):
    """Whoever follows hears of it all the same; what Python takes for a number need not be one."""
    other: Any = f"00{user.pk}"
    notify_user(other, {"n": 1})
    notify_user(other, {"n": 1}, durable=False)

    assert {message["group"] for message in published} == {UserStream.group_of(user.pk)}
    keys: list[Any] = [True, "ada", "", None, 1.5]
    for wrong in keys:
        for durable in (True, False):
            with pytest.raises(ValueError, match=r"key|value|None"):
                notify_user(wrong, {"n": 1}, durable=durable)


@pytest.mark.django_db(transaction=True)
def test_signals_for_many_need_no_database(user, other_user, published):
    """Events that are not durable go to each user without a row."""
    notify_users([user.pk, other_user.pk], {"n": 1}, durable=False)

    assert [message["type"] for message in published] == ["realtime.signal"] * 2
    assert not UserStream.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_many_users_take_a_bounded_number_of_queries(django_assert_max_num_queries, published):
    """The plural costs a few queries for many users, not a few for each."""
    users = User.objects.bulk_create(
        [User(username=f"user{n}", email=f"user{n}@example.com") for n in range(60)]
    )

    with django_assert_max_num_queries(12):
        notify_users([user.pk for user in users], {"n": 1})

    assert len(published) == 60


def test_writers_at_once_leave_no_gap(at_once, user, published):
    """Four threads that write to one user get each number once."""
    at_once(*[lambda: [notify_user(user.pk, {"n": n}) for n in range(5)]] * 4)

    assert sorted(hint["seq"] for hint in published) == list(range(1, 21))
    assert UserStream.objects.get(pk=user.pk).head == 20


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
def test_a_page_ends_at_its_number_or_its_size(user, published, subtests, monkeypatch):
    """The event that exceeds the size is the last one of its page."""
    for _ in range(5):
        notify_user(user.pk, {"text": "x" * 90})

    for case, after, limit, size, seqs in (
        ("all", 0, 10, 10_000, [1, 2, 3, 4, 5]),
        ("so many", 1, 2, 10_000, [2, 3]),
        ("so large", 0, 10, 250, [1, 2, 3]),
        ("one at least", 3, 10, 1, [4]),
        ("none", 5, 10, 10_000, []),
    ):
        with subtests.test(case):
            monkeypatch.setattr(streams, "PAGE_SIZE", limit)
            monkeypatch.setattr(streams, "PAGE_BYTES", size)
            stream = user.event_stream
            page = streams.texts_after([(stream, after)])[stream.group, after]

            assert [seq for seq, _ in page] == seqs
            texts = [hint["text"] for hint in published[after:]]
            assert [text for _, text in page] == texts[: len(seqs)]


@pytest.mark.django_db(transaction=True)
def test_pages_of_many_streams_are_one_query(
    user, other_user, published, django_assert_num_queries
):
    """However many are behind, and on however many streams."""
    for one in (user, other_user, user, user):
        notify_user(one.pk, {"n": 0})
    first, second = UserStream.objects.order_by("pk")

    with django_assert_num_queries(1):
        pages = streams.texts_after([(first, 0), (first, 2), (second, 0)])

    numbers = {(group, after): [seq for seq, _ in page] for (group, after), page in pages.items()}
    assert numbers == {
        (first.group, 0): [1, 2, 3],
        (first.group, 2): [3],
        (second.group, 0): [1],
    }


@pytest.mark.django_db(transaction=True)
def test_a_page_that_does_not_reach_so_far_serves_nobody_further(user, published, monkeypatch):
    """Whoever is further ahead than a page reaches gets one of his own."""
    monkeypatch.setattr(streams, "PAGE_SIZE", 2)
    for _ in range(6):
        notify_user(user.pk, {"n": 0})
    stream = UserStream.objects.get()

    pages = streams.texts_after([(stream, after) for after in (0, 1, 2, 4, 6)])

    assert [[seq for seq, _ in pages[stream.group, after]] for after in (0, 1, 2, 4, 6)] == [
        [1, 2],
        [2],
        [3, 4],
        [5, 6],
        [],
    ]


@pytest.mark.django_db
def test_positions_of_many_streams_are_one_query(user, other_user, django_assert_num_queries):
    """The repair tick asks once for all streams; one that is gone is left out."""
    UserStream.ensure([user.pk, other_user.pk])
    asked = [*UserStream.objects.all(), UserStream(user_id=999)]

    with django_assert_num_queries(1):
        found = streams.positions(asked)

    assert set(found) == {stream.group for stream in asked[:2]}
    assert {position.head for position in found.values()} == {0}


@pytest.mark.django_db
def test_streams_name_their_owner(user):
    """The admin pages show whose stream and which event it is."""
    notify_user(user.pk, {"n": 1})

    assert str(UserStream.objects.get()) == "events of ada"
    assert str(UserEvent.objects.get()) == f"event 1 of user {user.pk}"
