"""How often one may try to sign in, register or change something."""

import pytest
from accounts.models import User
from accounts.tests import test_throttles as own
from accounts.tests.test_throttles import Clock, sign_in
from rest_framework.test import APIClient

# Fixtures of the project's own tests.
clock = own.clock


@pytest.mark.parametrize("name", [" ada", "ada\t", "ADA", "\uff41da"])
def test_one_name_however_it_is_written(user: User, anonymous: APIClient, name: str):
    """What the endpoints take for the same name is counted as one."""
    for number in range(3):
        sign_in(anonymous, f"192.0.2.{number}", username="ada")

    assert sign_in(anonymous, "192.0.2.9", username=name) == 429


def test_guesses_do_not_keep_the_user_out(user: User, anonymous: APIClient, clock: Clock):
    """Where a user has signed in lately, it does not matter who tries the name elsewhere."""
    password = "analytical-engine"
    assert sign_in(anonymous, "198.51.100.1", password=password) == 200
    clock.seconds += 60

    statuses = [sign_in(anonymous, f"192.0.2.{number}") for number in range(4)]
    assert statuses == [401, 401, 401, 429]
    assert sign_in(anonymous, "198.51.100.2", password=password) == 429
    assert sign_in(anonymous, "198.51.100.1", password=password) == 200

    # Nor can guesses go on there for ever.
    assert [sign_in(anonymous, "198.51.100.1") for _ in range(3)] == [401, 401, 429]


@pytest.mark.parametrize("address", ["192.0.2.2", "::ffff:192.0.2.2", "2001:db8::1", "strange"])
def test_other_addresses(db, anonymous: APIClient, address: str):
    """Addresses that are another customer's are counted apart, as a dual-stack socket has them."""
    for _ in range(4):
        sign_in(anonymous, "::ffff:192.0.2.1")

    assert sign_in(anonymous, "192.0.2.1", username="grace") == 429
    assert sign_in(anonymous, address, username="grace") == 401


def test_an_ipv6_customer(db, anonymous: APIClient):
    """An IPv6 customer has a whole network of addresses, which are counted together."""
    statuses = [sign_in(anonymous, f"2001:db8::{n}", username=f"user{n}") for n in range(4)]

    assert statuses[-1] == 429
    assert sign_in(anonymous, "2001:db8:1::", username="user5") == 401


def test_other_names(api: APIClient, other_user: User, clock: Clock):
    """Nobody tries out whose address is registered any faster than by registering."""
    taken = {"email": "grace@example.com"}
    statuses = [api.patch("/api/users/me/", taken).status_code for _ in range(4)]
    assert statuses == [400, 400, 400, 429]

    clock.seconds += 60
    for _ in range(3):
        assert api.patch("/api/users/me/", {"first_name": "Ada"}).status_code == 200
    # Nobody looks at the body of a request that reads.
    assert api.generic("GET", "/api/users/me/", "{", "text/plain").status_code == 200
    clock.seconds += 60
    assert api.patch("/api/users/me/", {"username": "lovelace"}).status_code == 200


def test_password_change_from_many_addresses(api: APIClient, anonymous: APIClient, user: User):
    """Nor do more addresses help; who guesses at signing in keeps nobody from a new password."""
    for number in range(3):
        sign_in(anonymous, f"192.0.2.{number}", username="ada")

    statuses = [
        api.post("/api/users/me/password/", {}, REMOTE_ADDR=f"198.51.100.{number}").status_code
        for number in range(4)
    ]

    assert statuses == [400, 400, 400, 429]


def test_writes_without_a_token(anonymous: APIClient):
    """A request that is refused anyway is not counted."""
    statuses = [anonymous.patch("/api/users/me/", {}).status_code for _ in range(4)]

    assert statuses == [401] * 4


def test_an_unusable_body_is_counted(db, anonymous: APIClient):
    """A body without a usable name counts for its address alone."""
    assert [sign_in(anonymous, username=None) for _ in range(4)] == [400, 400, 400, 429]
