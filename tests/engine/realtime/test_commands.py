"""The management commands, REST and the admin pages."""

import pytest
from realtime import retention
from realtime.models import UserStream
from realtime.notification import notify_user

pytestmark = pytest.mark.django_db(transaction=True)


def test_trimming_goes_on_where_a_stream_was_deleted(user, other_user, monkeypatch):
    """A user who goes while the command runs does not end it."""
    for user_id in (user.pk, other_user.pk):
        for n in range(3):
            notify_user(user_id, {"n": n})
    trim_batch = retention._trim_batch

    def delete_first(stream, pk, *arguments):
        UserStream.objects.filter(pk=user.pk).delete()
        return trim_batch(stream, pk, *arguments)

    monkeypatch.setattr(retention, "_trim_batch", delete_first)

    assert retention.trim(UserStream, days=None, entries=1, batch=100) == (2, 1)
