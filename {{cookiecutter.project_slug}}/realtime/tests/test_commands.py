"""The management commands, REST and the admin pages."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from realtime import retention
from realtime.models import UserEvent, UserStream
from realtime.notification import notify_user, notify_users

pytestmark = pytest.mark.django_db


def test_notify_stores_an_event(user, capsys):
    """`manage.py notify` says under which number the event is stored."""
    call_command("notify", "ada", '{"message": "hi"}')

    assert "event 1 for ada" in capsys.readouterr().out
    assert UserEvent.objects.get().payload == {"message": "hi"}


def test_notify_names_what_is_wrong(user, subtests):
    """Bad input is one clear line, and stores nothing."""
    for username, event, error in (
        ("nobody", "{}", "no user is called 'nobody'"),
        ("ada", "{hi}", "not JSON"),
        ("ada", "[]", "must be a JSON object"),
        ("ada", '{"seq": 1}', "'seq' is reserved"),
    ):
        with subtests.test(error=error):
            with pytest.raises(CommandError, match=error):
                call_command("notify", username, event)

            assert not UserEvent.objects.exists()


def test_events_are_paged_by_number(user, api):
    """`since` and `limit` walk through a user's stored events."""
    for n in range(5):
        notify_user(user.pk, {"n": n})

    page = api.get("/api/realtime/events/", {"since": 1, "limit": 2}).json()

    assert page["head"] == 5
    assert page["trimmed"] == 0
    assert page["events"] == [{"n": 1, "seq": 2}, {"n": 2, "seq": 3}]
    assert page["epoch"] == str(UserStream.objects.get().epoch)


def test_a_user_without_events_has_an_empty_page(api):
    """The first look at a stream creates it; those after it write nothing."""
    page = api.get("/api/realtime/events/").json()

    assert (page["head"], page["events"]) == (0, [])
    with CaptureQueriesContext(connection) as queries:
        assert api.get("/api/realtime/events/").json() == page
    assert {query["sql"].split()[0] for query in queries} == {"SELECT"}


def test_a_bad_query_is_refused(api, subtests):
    """Numbers out of range are a 400 that names the parameter."""
    for query in ({"since": -1}, {"since": "x"}, {"limit": 501}, {"limit": 0}, {"since": 2**63}):
        with subtests.test(query=query):
            answer = api.get("/api/realtime/events/", query)

            assert answer.status_code == 400
            assert set(answer.json()) == set(query)


def test_events_need_a_token(anonymous):
    """Nobody reads events without signing in."""
    assert anonymous.get("/api/realtime/events/").status_code == 401


def test_trimming_by_number_keeps_the_latest(user, other_user, capsys):
    """Each stream keeps so many of its latest events, and remembers what it lost."""
    for n in range(5):
        notify_user(user.pk, {"n": n})
    notify_user(other_user.pk, {"n": 0})

    call_command("trim_streams", entries=2, days=0, batch=2)

    assert "3 entries of 1 streams" in capsys.readouterr().out
    assert [event.seq for event in UserEvent.objects.filter(stream=user.pk)] == [4, 5]
    assert UserStream.objects.get(pk=user.pk).trimmed == 3
    assert UserStream.objects.get(pk=other_user.pk).trimmed == 0


def test_trimming_by_age_leaves_no_gap(user):
    """Old events go up to the first that is young, in as many batches as it takes."""
    for n in range(6):
        notify_user(user.pk, {"n": n})
    old = timezone.now() - timedelta(days=40)
    UserEvent.objects.filter(seq__lt=5).update(created_at=old)

    assert retention.trim(UserStream, days=30, entries=None, batch=3) == (4, 1)

    assert [event.seq for event in UserEvent.objects.all()] == [5, 6]
    assert UserStream.objects.get().trimmed == 4
    assert notify_user(user.pk, {"n": 6}) == 7


def test_a_clock_that_was_wrong_deletes_nothing_young(user, subtests):
    """What follows a young event is young, and what is dated in the future says nothing."""
    now = timezone.now()
    young, old, future = (now + timedelta(days=days) for days in (-1, -40, 40))
    for dates, left in (
        ([young, young, old, young], [1, 2, 3, 4]),
        ([old, young, old, old], [2, 3, 4]),
        ([old, future, old, young], [4]),
        ([future, future, old], []),
        ([old, future, young, old], [2, 3, 4]),
        ([future, future, future], [1, 2, 3]),
    ):
        with subtests.test(dates=dates):
            UserStream.objects.all().delete()
            for seq, date in enumerate(dates, 1):
                notify_user(user.pk, {"n": seq})
                UserEvent.objects.filter(seq=seq).update(created_at=date)

            retention.trim(UserStream, days=30, entries=None, batch=2)

            assert [event.seq for event in UserEvent.objects.all()] == left


def test_trimming_without_limits_deletes_nothing(user):
    """No limit means no deletion."""
    notify_user(user.pk, {"n": 1})

    assert retention.trim(UserStream, days=None, entries=None, batch=100) == (0, 0)


def test_trimming_names_the_streams_there_are(subtests):
    """A model that is no stream is refused."""
    for label in ("accounts.User", "nothing", "no.Model"):
        with (
            subtests.test(label=label),
            pytest.raises(CommandError, match=r"choose from .*realtime\.UserStream"),
        ):
            call_command("trim_streams", stream=[label])


def test_trimming_refuses_impossible_limits():
    """Negative limits are an error, not a deletion of everything."""
    with pytest.raises(CommandError, match="0 or more"):
        call_command("trim_streams", entries=-1)


def test_a_restored_backup_gets_new_epochs(user, other_user, capsys):
    """Every stream has a history of its own afterwards."""
    notify_users([user.pk, other_user.pk], {"n": 1})
    before = set(UserStream.objects.values_list("epoch", flat=True))

    call_command("renew_epochs")

    assert "2 streams" in capsys.readouterr().out
    assert not before & set(UserStream.objects.values_list("epoch", flat=True))


def test_the_admin_pages_show_but_change_nothing(client, user):
    """Staff can look for a user's events; no row can be added, changed or deleted."""
    notify_user(user.pk, {"message": "look at me"})
    client.force_login(User.objects.create_superuser("root", "root@example.com", "x"))

    for page in ("userstream", "userevent"):
        answer = client.get(f"/admin/realtime/{page}/", {"q": "ada"})
        assert answer.status_code == 200
        assert b"1 user" in answer.content or b"ada" in answer.content
        assert client.get(f"/admin/realtime/{page}/add/").status_code == 403

    event = UserEvent.objects.get()
    page = client.get(f"/admin/realtime/userevent/{event.pk}/change/")
    assert json.dumps("look at me").encode() in page.content.replace(b"&quot;", b'"')
    assert client.post(f"/admin/realtime/userevent/{event.pk}/delete/").status_code == 403


def test_a_user_with_events_can_be_deleted_in_the_admin_pages(client, user):
    """Events that nobody may delete by themselves are no obstacle: they go with their owner."""
    notify_user(user.pk, {"n": 1})
    client.force_login(User.objects.create_superuser("root", "root@example.com", "x"))

    answer = client.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"})

    assert answer.status_code == 302
    assert not UserEvent.objects.exists()
