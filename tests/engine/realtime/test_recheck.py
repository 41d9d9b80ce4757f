"""Withdrawing a user's access to a stream whose socket is open."""

import pytest
from realtime.models import UserStream
from realtime.tests import test_recheck as own

# A fixture of the project's own tests.
without_access = own.without_access

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_recheck_that_fails_is_repeated(
    no_tick, hub, ada, user, without_access, monkeypatch
):
    """A database that does not answer at first delays the check, but does not drop it."""
    monkeypatch.setattr("realtime.hub.RETRY_SECONDS", 0)
    calls = []

    def fail_at_first(followers):
        calls.append(followers)
        if len(calls) < 3:
            raise ConnectionError("the database restarts")
        return followers

    without_access(fail_at_first)

    # Not through the layer, which this process may not have joined yet.
    hub.hear([{"type": "realtime.recheck", "group": UserStream(pk=user.pk).group}])

    assert await ada.close_code() == 4403
