"""What ends a user's access, and whom it is told."""

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import transaction

from accounts import tokens
from accounts.models import User
from accounts.signals import access_revoked

pytestmark = pytest.mark.django_db(transaction=True)


class QuickHasher(PBKDF2PasswordHasher):
    """A hasher of passwords that does not take its time."""

    iterations = 1


@pytest.fixture
def revoked():
    """The ids of the users whose access was said to have ended, in order."""
    user_ids: list[int] = []

    def receive(user_id: int, **_: object) -> None:
        user_ids.append(user_id)

    access_revoked.connect(receive)
    yield user_ids
    access_revoked.disconnect(receive)


def is_valid(token: str) -> bool:
    """Whether the access token still speaks for its user."""
    try:
        tokens.authenticate(token)
    except tokens.InvalidToken:
        return False
    return True


def test_a_new_password(user: User, access_token: str, revoked: list[int]):
    """Saving a new password ends the access, with or without `update_fields`."""
    user.set_password("difference-engine")
    user.save()
    assert not is_valid(access_token)

    token = tokens.issue(user).access
    user.set_password("analytical-engine")
    user.save(update_fields=["password"])
    assert not is_valid(token)
    assert revoked == [user.pk, user.pk]


def test_an_unusable_password(user: User, access_token: str, revoked: list[int]):
    """Taking the password away ends the access."""
    user.set_unusable_password()
    user.save()

    assert not is_valid(access_token)
    assert revoked == [user.pk]


def test_deactivation(user: User, access_token: str, revoked: list[int]):
    """Deactivating ends the access for good: activating again revives no old token."""
    user.is_active = False
    user.save(update_fields=["is_active"])
    assert revoked == [user.pk]

    user.is_active = True
    user.save()
    assert not is_valid(access_token)
    assert revoked == [user.pk]


def test_other_changes(user: User, access_token: str, revoked: list[int]):
    """Saving anything else leaves the access as it is."""
    user.first_name = "Ada"
    user.save()
    user.save(update_fields=["first_name"])
    user.save(update_fields=[])

    assert is_valid(access_token)
    assert revoked == []


def test_a_stale_copy(user: User, access_token: str, revoked: list[int]):
    """Saving a copy that was read before a password change does not go unnoticed."""
    stale = User.objects.get()
    user.set_password("difference-engine")
    user.save()
    token = tokens.issue(user).access

    stale.save()  # writes the earlier password back

    assert not is_valid(token)
    assert revoked == [user.pk, user.pk]


def test_a_stale_copy_does_not_revive_tokens(user: User, access_token: str):
    """Saving a copy that was read before a logout leaves the tokens ended."""
    stale = User.objects.get()
    user.revoke_access()

    stale.first_name = "Ada"
    stale.save()

    assert not is_valid(access_token)


def test_a_renewed_hash(user: User, access_token: str, revoked: list[int], settings):
    """A login that brings the stored hash up to date is no change of the password."""
    settings.PASSWORD_HASHERS = [f"{__name__}.QuickHasher", *settings.PASSWORD_HASHERS]

    assert authenticate(username="ada", password="analytical-engine") == user

    user.refresh_from_db()
    assert user.password.startswith("pbkdf2")
    assert is_valid(access_token)
    assert revoked == []


def test_deletion(user: User, other_user: User, revoked: list[int]):
    """Deleting users, one or many, is told for each."""
    ids = [user.pk, other_user.pk]
    user.delete()
    User.objects.all().delete()

    assert revoked == ids


def test_only_what_is_committed_is_told(user: User, access_token: str, revoked: list[int]):
    """A rollback keeps the tokens, and nobody hears of it."""
    with transaction.atomic():
        user.revoke_access()
        user.delete()
        transaction.set_rollback(True)

    assert is_valid(access_token)
    assert revoked == []


def test_told_after_the_commit(user: User, access_token: str, revoked: list[int]):
    """Who is told finds the token ended already."""
    with transaction.atomic():
        user.revoke_access()
        assert revoked == []

    assert revoked == [user.pk]


def test_a_failing_receiver(user: User, access_token: str):
    """A receiver that fails does not keep the access from ending."""

    def fail(**_: object) -> None:
        raise RuntimeError

    access_revoked.connect(fail)
    try:
        user.revoke_access()
    finally:
        access_revoked.disconnect(fail)

    assert not is_valid(access_token)
