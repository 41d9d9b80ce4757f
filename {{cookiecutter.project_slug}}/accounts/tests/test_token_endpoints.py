"""Signing in, refreshing, verifying and logging out over REST."""

import json
from datetime import timedelta

import pytest
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken

from accounts import tokens
from accounts.models import User

ADA = {"username": "ada", "password": "analytical-engine"}


def post(client: APIClient, path: str, **body: object):
    """Post `body` to the token endpoint `path`, in ASCII, as JSON can express any text."""
    return client.generic("POST", f"/api/token/{path}", json.dumps(body), "application/json")


def test_sign_in(user: User, anonymous: APIClient):
    """The right password is answered with two tokens that speak for the user."""
    response = post(anonymous, "", **ADA)

    assert response.status_code == 200
    assert set(response.data) == {"access", "refresh"}
    assert tokens.authenticate(response.data["access"]).user == user


def test_wrong_credentials(user: User, anonymous: APIClient, subtests: pytest.Subtests):
    """The answer is 401 and does not tell a wrong name from a wrong password."""
    for wrong in ({"password": "a-guess"}, {"username": "nobody"}, {"username": "Ada"}):
        with subtests.test(wrong=wrong):
            response = post(anonymous, "", **ADA | wrong)

            assert response.status_code == 401
            assert response.data["detail"] == "No active account found with the given credentials"


def test_inactive_users_cannot_sign_in(user: User, anonymous: APIClient):
    """A deactivated user is answered as one that does not exist."""
    user.is_active = False
    user.save()

    assert post(anonymous, "", **ADA).status_code == 401


def test_odd_user_names(db, anonymous: APIClient, subtests: pytest.Subtests):
    """A user name that is no usable text is a 400."""
    for username in (["ada"], {"a": 1}, None, "nul\0", "\ud800", ""):
        with subtests.test(username=username):
            assert post(anonymous, "", **ADA | {"username": username}).status_code == 400


def test_a_body_that_is_no_object(db, anonymous: APIClient):
    """A JSON body has to be an object."""
    assert anonymous.post("/api/token/", ["ada"]).status_code == 400


def test_refresh(user: User, anonymous: APIClient):
    """A refresh token buys a new pair, whatever is in the Authorization header."""
    anonymous.credentials(HTTP_AUTHORIZATION="Bearer expired")

    response = post(anonymous, "refresh/", refresh=tokens.issue(user).refresh)

    assert response.status_code == 200
    assert tokens.authenticate(response.data["access"]).user == user
    assert post(anonymous, "refresh/", refresh=response.data["refresh"]).status_code == 200


def test_a_refresh_token_is_used_once(user: User, anonymous: APIClient):
    """A refresh token that has been exchanged is refused."""
    refresh = tokens.issue(user).refresh
    post(anonymous, "refresh/", refresh=refresh)

    response = post(anonymous, "refresh/", refresh=refresh)

    assert response.status_code == 401
    assert response.data["detail"].code == "token_not_valid"


def test_who_reads_the_database(user: User, anonymous: APIClient):
    """Only tokens that are of no use any more are stored."""
    first = tokens.issue(user).refresh
    second = anonymous.post("/api/token/refresh/", {"refresh": first}).data["refresh"]
    tokens.issue(user)

    stored = set(OutstandingToken.objects.values_list("token", flat=True))
    assert stored == {first}
    assert anonymous.post("/api/token/refresh/", {"refresh": second}).status_code == 200


def test_many_refreshes_at_once(user: User, at_once):
    """Of many requests with one token, one gets the new pair."""
    refresh = tokens.issue(user).refresh

    def rotate() -> bool:
        try:
            tokens.rotate(refresh)
        except tokens.InvalidToken:
            return False
        return True

    assert at_once(*[rotate] * 4).count(True) == 1


def test_an_access_token_refreshes_nothing(access_token: str, anonymous: APIClient):
    """Only refresh tokens can be exchanged."""
    assert post(anonymous, "refresh/", refresh=access_token).status_code == 401


def test_refresh_for_a_deleted_user(user: User, anonymous: APIClient):
    """A deleted user's refresh token is refused, not a server error."""
    refresh = tokens.issue(user).refresh
    user.delete()

    assert post(anonymous, "refresh/", refresh=refresh).status_code == 401


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_verify(user: User, anonymous: APIClient, kind: str):
    """Either kind of token is valid until the user's tokens are revoked."""
    token = getattr(tokens.issue(user), kind)
    assert post(anonymous, "verify/", token=token).status_code == 200

    user.revoke_access()

    assert post(anonymous, "verify/", token=token).status_code == 401


def test_an_expired_token_is_not_valid(user: User, anonymous: APIClient):
    """Verifying an expired token says why it is refused."""
    token = RefreshToken.for_user(user)
    token.set_exp(lifetime=timedelta(seconds=-1))

    response = post(anonymous, "verify/", token=str(token))

    assert response.status_code == 401
    assert response.data["detail"] == "Token is expired"


def test_log_out(api: APIClient, anonymous: APIClient, user: User):
    """Logging out ends every token of the user at once."""
    refresh, other_refresh = tokens.issue(user).refresh, tokens.issue(user).refresh

    response = post(anonymous, "blacklist/", refresh=refresh)

    assert response.status_code == 200
    assert response.data == {}
    assert api.get("/api/users/me/").status_code == 401
    assert post(anonymous, "refresh/", refresh=refresh).status_code == 401
    assert post(anonymous, "refresh/", refresh=other_refresh).status_code == 401


def test_log_out_twice(user: User, anonymous: APIClient):
    """A refresh token that has ended ends nothing again: a new session stays."""
    refresh = tokens.issue(user).refresh
    post(anonymous, "blacklist/", refresh=refresh)
    user.refresh_from_db()
    new = tokens.issue(user)

    assert post(anonymous, "blacklist/", refresh=refresh).status_code == 401
    assert tokens.authenticate(new.access).user == user


def test_malformed_tokens(db, anonymous: APIClient, subtests: pytest.Subtests):
    """A token that is none is refused, whatever it is made of."""
    for refresh in ("x", "a.b.c", "\ud800", "é.è.ê"):
        for path in ("refresh/", "blacklist/"):
            with subtests.test(refresh=refresh, path=path):
                assert post(anonymous, path, refresh=refresh).status_code in {400, 401}
