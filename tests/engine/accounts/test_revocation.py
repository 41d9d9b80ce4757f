"""What ends a user's access, and whom it is told."""

import pytest
from accounts.models import User
from accounts.tests import test_revocation as own

# Fixtures of the project's own tests.
revoked = own.revoked

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_save_after_deletion(user: User, revoked: list[int]):
    """Saving a user who has been deleted meanwhile makes them anew, with nothing to end."""
    copy = User.objects.get()
    user.delete()
    revoked.clear()

    copy.save()

    assert User.objects.get() == copy
    assert revoked == []
