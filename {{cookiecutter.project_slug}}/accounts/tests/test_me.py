"""One's own profile and password over REST."""

import pytest
from rest_framework.test import APIClient

from accounts import tokens
from accounts.models import User

PASSWORDS = {"old_password": "analytical-engine", "new_password": "difference-engine"}


def test_who_am_i(api: APIClient, user: User):
    """The profile is that of the token's user."""
    response = api.get("/api/users/me/")

    assert response.status_code == 200
    assert response.data["id"] == user.pk
    assert response.data["username"] == "ada"
    assert response.data["email"] == "ada@example.com"
    assert not {"password", "is_staff", "token_version"} & set(response.data)


def test_strangers(db, anonymous: APIClient, subtests: pytest.Subtests):
    """Without a valid token the answer is 401 and names the scheme."""
    for header in (None, "Bearer", "Bearer x.y.z", "Bearer a b", "Basic YTpi"):
        with subtests.test(header=header):
            response = anonymous.get(
                "/api/users/me/", headers={} if header is None else {"authorization": header}
            )

            assert response.status_code == 401
            assert response["WWW-Authenticate"].startswith("Bearer")


def test_the_scheme_is_case_insensitive(anonymous: APIClient, access_token: str):
    """HTTP lets `bearer` be written in any case."""
    response = anonymous.get("/api/users/me/", headers={"authorization": f"bearer  {access_token}"})

    assert response.status_code == 200


def test_change_profile(api: APIClient, user: User):
    """A user may change their names and address, and nothing that gives power."""
    response = api.patch(
        "/api/users/me/", {"first_name": "Ada", "email": "ADA@example.com", "is_staff": True}
    )

    assert response.status_code == 200
    user.refresh_from_db()
    assert user.first_name == "Ada"
    assert user.email == "ADA@example.com"
    assert not user.is_staff
    assert user.token_version == 0


def test_anothers_email(api: APIClient, other_user: User):
    """Nobody can take another user's address."""
    response = api.patch("/api/users/me/", {"email": "Grace@example.com"})

    assert response.status_code == 400


def test_the_profile_is_not_replaced(api: APIClient):
    """A profile is changed field by field: there is no PUT and no DELETE."""
    assert api.put("/api/users/me/", {}).status_code == 405
    assert api.delete("/api/users/me/").status_code == 405


def test_change_password(api: APIClient, anonymous: APIClient, user: User):
    """A new password ends every earlier token and is answered with a new pair."""
    refresh = tokens.issue(user).refresh

    response = api.post("/api/users/me/password/", PASSWORDS)

    assert response.status_code == 200
    assert api.get("/api/users/me/").status_code == 401
    assert anonymous.post("/api/token/refresh/", {"refresh": refresh}).status_code == 401
    assert tokens.authenticate(response.data["access"]).user == user
    user.refresh_from_db()
    assert user.check_password("difference-engine")


def test_a_token_alone_changes_no_password(api: APIClient, user: User):
    """Who has a token but not the password cannot take the account over."""
    response = api.post("/api/users/me/password/", PASSWORDS | {"old_password": "a-guess"})

    assert response.status_code == 400
    assert list(response.data) == ["old_password"]
    user.refresh_from_db()
    assert user.check_password("analytical-engine")


def test_weak_new_password(api: APIClient, subtests: pytest.Subtests):
    """A new password has to be as good as a first one."""
    for password in ("short", "ada@example.com"):
        with subtests.test(password=password):
            response = api.post("/api/users/me/password/", PASSWORDS | {"new_password": password})

            assert response.status_code == 400
            assert list(response.data) == ["new_password"]
