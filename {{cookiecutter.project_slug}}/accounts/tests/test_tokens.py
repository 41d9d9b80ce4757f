"""Whom a token speaks for, and until when."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from django.conf import settings
from rest_framework_simplejwt.tokens import AccessToken

from accounts import tokens
from accounts.models import User


def forge(claims: dict[str, object], key: str = settings.SECRET_KEY, algorithm: str = "HS256"):
    """Return an access token with `claims`, signed with `key`."""
    base = dict(AccessToken().payload) | {"user_id": "1", "ver": 0}
    return jwt.encode(base | claims, key, algorithm)


def test_a_valid_token(user: User, access_token: str):
    """A valid token grants acting as its user until it expires."""
    access = tokens.authenticate(access_token)

    assert access.user == user
    remaining = access.expires_at - datetime.now(UTC)
    assert timedelta(minutes=14) < remaining <= timedelta(minutes=15)


def test_one_query(access_token: str, django_assert_num_queries):
    """Authenticating costs a single database query."""
    with django_assert_num_queries(1):
        tokens.authenticate(access_token)


def test_malformed(db, subtests: pytest.Subtests):
    """What is no token is refused with a reason that does not repeat it."""
    for raw in ("", "x", "a.b.c", "é", "\ud800", "\0", "e30.e30.e30"):
        with subtests.test(raw=raw):
            with pytest.raises(tokens.InvalidToken) as refusal:
                tokens.authenticate(raw)

            assert not raw or raw not in str(refusal.value)


def test_refresh_tokens_grant_nothing(user: User):
    """A refresh token is no access token."""
    with pytest.raises(tokens.InvalidToken, match="wrong type"):
        tokens.authenticate(tokens.issue(user).refresh)


def test_expired(user: User):
    """An expired token is refused."""
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=timedelta(seconds=-1))

    with pytest.raises(tokens.InvalidToken, match="expired"):
        tokens.authenticate(str(token))


def test_forged(user: User):
    """A token signed with another key, or not at all, is refused."""
    for token in (forge({}, key="x" * 50), forge({}, key="", algorithm="none")):
        with pytest.raises(tokens.InvalidToken, match="invalid"):
            tokens.authenticate(token)


def test_a_token_without_a_version(user: User):
    """A token that simplejwt alone has issued lacks the version, and is refused."""
    with pytest.raises(tokens.InvalidToken, match="revoked"):
        tokens.authenticate(str(AccessToken.for_user(user)))


def test_inactive_user(user: User, access_token: str):
    """A user who was deactivated past the model is refused as well."""
    User.objects.update(is_active=False)

    with pytest.raises(tokens.InvalidToken, match="inactive"):
        tokens.authenticate(access_token)


def test_deleted_user(user: User, access_token: str):
    """The token of a user who is gone speaks for nobody."""
    user.delete()

    with pytest.raises(tokens.InvalidToken, match="not found"):
        tokens.authenticate(access_token)


def test_revoked(user: User, access_token: str):
    """A token of an earlier version is refused, one issued afterwards is not."""
    user.revoke_access()

    with pytest.raises(tokens.InvalidToken, match="revoked"):
        tokens.authenticate(access_token)
    assert tokens.authenticate(tokens.issue(user).access).user == user
