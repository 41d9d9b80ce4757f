"""How often one may try to sign in, register or change something."""

import pytest
from django.core.cache import caches
from django.test import Client
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.test import APIClient, APIRequestFactory, force_authenticate
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from accounts import tokens
from accounts.models import User

ADA = {"username": "ada", "password": "a-guess"}


class Clock:
    """A clock that a test turns on."""

    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    """Three requests a minute of each kind, of a minute that lasts until the test ends it."""
    rates = dict.fromkeys(SimpleRateThrottle.THROTTLE_RATES, "3/min")
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", rates)
    monkeypatch.setattr(SimpleRateThrottle, "timer", clock := Clock())
    return clock


def sign_in(client: APIClient, address: str = "192.0.2.1", **body: object) -> int:
    """Try to sign in from `address` and return the status."""
    return client.post("/api/token/", ADA | body, REMOTE_ADDR=address).status_code


def test_by_address(db, anonymous: APIClient):
    """One address may try so often, whichever users it names; others are not affected."""
    statuses = [sign_in(anonymous, username=f"user{number}") for number in range(4)]

    assert statuses == [401, 401, 401, 429]
    assert sign_in(anonymous, "192.0.2.2", username="user5") == 401


def test_the_answer_says_when_to_come_back(db, anonymous: APIClient, clock: Clock):
    """A 429 carries Retry-After, and then there is room again."""
    for _ in range(3):
        sign_in(anonymous)

    response = anonymous.post("/api/token/", ADA, REMOTE_ADDR="192.0.2.1")
    assert response.status_code == 429

    clock.seconds += int(response["Retry-After"])
    assert sign_in(anonymous) == 401


def test_all_at_once(anonymous: APIClient, at_once):
    """Requests that come at the same moment are counted one by one."""
    statuses = at_once(*[lambda: anonymous.post("/api/users/", {}).status_code] * 6)

    assert sorted(statuses) == [400] * 3 + [429] * 3


def test_by_user(user: User, anonymous: APIClient):
    """One user's password may be tried so often, from however many addresses."""
    statuses = [sign_in(anonymous, f"192.0.2.{number}", username="ada") for number in range(4)]

    assert statuses == [401, 401, 401, 429]
    assert sign_in(anonymous, "192.0.2.9", username="grace") == 401


def test_the_admin_pages(user: User, anonymous: APIClient, client: Client, clock: Clock):
    """Passwords that are tried at the admin pages count too, and shut nobody out for long."""
    User.objects.filter(pk=user.pk).update(is_staff=True)
    right = {"username": "ada", "password": "analytical-engine"}
    for _ in range(2):
        assert "Please enter the correct username" in client.post("/admin/login/", ADA).text
    assert sign_in(anonymous, "192.0.2.1") == 401

    response = client.post("/admin/login/", right)
    assert "Too many attempts. Try again in 20 seconds." in response.text
    assert sign_in(anonymous, "192.0.2.2") == 429

    clock.seconds += 20
    assert client.post("/admin/login/", right).status_code == 302
    clock.seconds += 60
    for number in range(4):
        sign_in(anonymous, f"192.0.2.{number}")
    assert client.post("/admin/login/", right).status_code == 302


def test_a_forged_forwarded_header(db, anonymous: APIClient):
    """Where no proxy is trusted, a client cannot pass for another address."""
    statuses = [
        anonymous.post(
            "/api/token/",
            ADA | {"username": f"user{number}"},
            headers={"x-forwarded-for": f"192.0.2.{number}"},
        ).status_code
        for number in range(4)
    ]

    assert statuses[-1] == 429


def test_a_trusted_proxy(db, anonymous: APIClient, monkeypatch):
    """Behind a proxy it is the address that the proxy saw which counts, not what a client added."""
    monkeypatch.setattr(api_settings, "NUM_PROXIES", 1)

    def address(seen: str, number: int) -> int:
        return anonymous.post(
            "/api/token/",
            ADA | {"username": f"user{number}"},
            headers={"x-forwarded-for": f"203.0.113.{number}, {seen}"},
        ).status_code

    assert [address("192.0.2.1", number) for number in range(4)] == [401, 401, 401, 429]
    assert address("192.0.2.2", 5) == 401


@pytest.mark.parametrize("path", ["refresh/", "verify/", "blacklist/"])
def test_other_token_endpoints(db, anonymous: APIClient, path: str):
    """Guessing tokens is bounded as well, but apart from passwords: a whole office renews them."""
    statuses = [anonymous.post(f"/api/token/{path}", {}).status_code for _ in range(4)]

    assert statuses == [400, 400, 400, 429]
    assert sign_in(anonymous, "127.0.0.1") == 401


def test_registration(db, anonymous: APIClient):
    """One address can make only so many users."""
    statuses = [anonymous.post("/api/users/", {}).status_code for _ in range(4)]

    assert statuses == [400, 400, 400, 429]


def test_password_change(api: APIClient):
    """Guessing the password with a stolen token is bounded."""
    statuses = [api.post("/api/users/me/password/", {}).status_code for _ in range(4)]

    assert statuses == [400, 400, 400, 429]


def test_writes(api: APIClient, other_user: User):
    """One user may change something so often, from however many addresses, and read at will."""
    statuses = [
        api.patch("/api/users/me/", {}, REMOTE_ADDR=f"192.0.2.{number}").status_code
        for number in range(4)
    ]
    other = APIClient(headers={"authorization": f"Bearer {tokens.issue(other_user).access}"})

    assert statuses == [200, 200, 200, 429]
    assert [api.get("/api/users/me/").status_code for _ in range(4)] == [200] * 4
    assert other.patch("/api/users/me/", {}).status_code == 200


def test_a_view_that_says_nothing_of_it(user: User):
    """What a view of one's own changes is counted as well, and what it shows is not."""

    class View(APIView):
        def get(self, request: Request) -> Response:
            return Response()

        post = get

    def ask(method: str) -> int:
        request = APIRequestFactory().generic(method, "/")
        force_authenticate(request, user)
        return View.as_view()(request).status_code

    assert [ask("POST") for _ in range(4)] == [200, 200, 200, 429]
    assert [ask("GET") for _ in range(4)] == [200] * 4


def test_without_redis(user: User, anonymous: APIClient, settings, caplog):
    """While the Redis that counts is away people can still sign in, and the log says so."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1",
        }
    }

    assert [sign_in(anonymous, password="analytical-engine") for _ in range(4)] == [200] * 4
    assert "Not counting requests of token" in caplog.text
    caches.close_all()
