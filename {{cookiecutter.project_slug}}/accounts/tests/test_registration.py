"""Registering over REST."""

import pytest
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient

from accounts.models import User
from accounts.serializers import RegistrationSerializer

ADA = {"username": "ada", "email": "ada@example.com", "password": "analytical-engine"}


def test_anyone_can_register(db, anonymous: APIClient):
    """A new user is answered with their profile, never with the password."""
    response = anonymous.post("/api/users/", ADA)

    assert response.status_code == 201
    user = User.objects.get()
    assert response.data["id"] == user.pk
    assert response.data["username"] == "ada"
    assert "password" not in response.data
    assert user.check_password("analytical-engine")


def test_a_new_user_has_no_rights(db, anonymous: APIClient):
    """Fields that give power cannot be set by registering."""
    anonymous.post("/api/users/", ADA | {"is_staff": True, "is_superuser": True, "id": 99})

    user = User.objects.get()
    assert not user.is_staff
    assert not user.is_superuser
    assert user.pk != 99


def test_closed_registration(db, anonymous: APIClient, settings):
    """Where registration is closed the answer is 403 and no user is made."""
    settings.REGISTRATION_OPEN = False

    response = anonymous.post("/api/users/", ADA)

    assert response.status_code == 403
    assert response.data["detail"] == "Registration is closed."
    assert not User.objects.exists()


def test_an_old_token_is_no_obstacle(db, anonymous: APIClient):
    """An invalid Authorization header, left over from another session, is not looked at."""
    response = anonymous.post("/api/users/", ADA, headers={"authorization": "Bearer expired"})

    assert response.status_code == 201


def test_unusable_values(db, anonymous: APIClient, subtests: pytest.Subtests):
    """What cannot be used is refused under the name of its field."""
    for field, value in (
        ("username", ""),
        ("username", "two words"),
        ("username", "nul\0"),
        ("username", "x" * 151),
        ("email", ""),
        ("email", "nobody"),
        ("password", ""),
        ("password", "short"),
        ("password", "password123"),
        ("password", "8675309186753091"),
        ("password", "x" * 129),
    ):
        with subtests.test(field=field, value=value[:30]):
            response = anonymous.post("/api/users/", ADA | {field: value})

            assert response.status_code == 400
            assert list(response.data) == [field]


def test_a_password_like_the_user_name(db, anonymous: APIClient):
    """A password that resembles the user's own data is refused."""
    response = anonymous.post("/api/users/", ADA | {"password": "ada@example.com"})

    assert response.status_code == 400
    assert "too similar" in response.data["password"][0]


def test_every_field_is_needed(db, anonymous: APIClient):
    """A user has a name, an email address and a password."""
    response = anonymous.post("/api/users/", {})

    assert set(response.data) == {"username", "email", "password"}


def test_a_password_is_taken_as_typed(db, anonymous: APIClient):
    """Spaces around a password belong to it."""
    anonymous.post("/api/users/", ADA | {"password": " analytical engine "})

    assert User.objects.get().check_password(" analytical engine ")


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@EXAMPLE.COM"])
def test_email_is_unique(user: User, anonymous: APIClient, email: str):
    """Two users cannot share an address, in whatever case it is written."""
    response = anonymous.post("/api/users/", ADA | {"username": "countess", "email": email})

    assert response.status_code == 400
    assert response.data["email"] == ["A user with that email already exists."]


def test_two_registrations_at_once(db):
    """Who loses the race for a name gets a plain answer, not a server error."""
    late = RegistrationSerializer(data=ADA)
    assert late.is_valid()
    User.objects.create_user("ada", "other@example.com", "analytical-engine")

    with pytest.raises(ValidationError, match="already exists"):
        late.save()


def test_users_without_email(db):
    """Users made on the command line may do without an address, any number of them."""
    User.objects.create_user("daemon")
    User.objects.create_user("cron")

    assert User.objects.filter(email="").count() == 2
