"""The admin page of users."""

from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse

from accounts import tokens
from accounts.models import User


@pytest.fixture
def admin_page(db) -> Client:
    """A browser in which an administrator is signed in."""
    client = Client()
    root = User.objects.create_superuser("root", "root@example.com", "analytical-engine")
    client.force_login(root)
    return client


def test_the_list(admin_page: Client, user: User):
    """Users are listed with their addresses and found by them."""
    response = admin_page.get(reverse("admin:accounts_user_changelist"), {"q": "ada@example"})

    assert response.status_code == 200
    assert "ada@example.com" in response.text
    assert "root@example.com" not in response.text


def test_add_user(admin_page: Client):
    """A new user is made with an address."""
    response = admin_page.post(
        reverse("admin:accounts_user_add"),
        {
            "username": "grace",
            "email": "grace@example.com",
            "usable_password": "true",
            "password1": "compiler-1952",
            "password2": "compiler-1952",
        },
    )

    assert response.status_code == 302
    assert User.objects.get(username="grace").email == "grace@example.com"


def test_the_same_email_twice(admin_page: Client, user: User):
    """The page says which address is taken, in place of a server error."""
    response = admin_page.post(
        reverse("admin:accounts_user_add"),
        {
            "username": "countess",
            "email": "ADA@example.com",
            "usable_password": "true",
            "password1": "compiler-1952",
            "password2": "compiler-1952",
        },
    )

    assert response.status_code == 200
    assert "A user with that email already exists." in response.text


def test_log_out_action(admin_page: Client, user: User, access_token: str):
    """An administrator can end all sessions of a user."""
    answer = act(admin_page, "log_out", user)

    assert "Logged out: 1." in admin_page.get(answer["Location"]).text
    with pytest.raises(tokens.InvalidToken, match="revoked"):
        tokens.authenticate(access_token)


def test_sessions_end_as_well(admin_page: Client, user: User):
    """Who is logged out is so at the admin pages too, and nobody else is."""
    User.objects.filter(pk=user.pk).update(is_staff=True)
    theirs = Client()
    theirs.force_login(user)
    assert theirs.get("/admin/password_change/").status_code == 200

    act(admin_page, "log_out", user)

    assert theirs.get("/admin/password_change/").status_code == 302
    assert admin_page.get("/admin/password_change/").status_code == 200


def test_ones_own_password(admin_page: Client):
    """An administrator who takes another password stays signed in where that was done."""
    passwords = dict.fromkeys(("new_password1", "new_password2"), "compiler-1952")
    passwords["old_password"] = "analytical-engine"

    assert admin_page.post("/admin/password_change/", passwords).status_code == 302
    assert admin_page.get("/admin/password_change/").status_code == 200


def test_deactivate_action(admin_page: Client, user: User, access_token: str):
    """An administrator can shut a user out at once."""
    act(admin_page, "deactivate", user)

    user.refresh_from_db()
    assert not user.is_active
    assert user.token_version == 1


def test_passwords_changed_by_an_administrator(admin_page: Client, user: User, access_token: str):
    """A password that an administrator sets ends the user's access too."""
    response = admin_page.post(
        reverse("admin:auth_user_password_change", args=[user.pk]),
        {
            "usable_password": "true",
            "password1": "difference-engine",
            "password2": "difference-engine",
        },
    )

    assert response.status_code == 302
    with pytest.raises(tokens.InvalidToken, match="revoked"):
        tokens.authenticate(access_token)


def act(page: Client, action: str, user: User) -> Any:
    """Choose `action` for `user` in the list."""
    response = page.post(
        reverse("admin:accounts_user_changelist"),
        {"action": action, ACTION_CHECKBOX_NAME: [user.pk]},
    )
    assert response.status_code == 302
    return response
