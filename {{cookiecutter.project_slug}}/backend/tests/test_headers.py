"""What every answer tells a browser, and whom it believes."""

import re

import pytest
from django.test import Client

from accounts.models import User
from backend import health

NOTHING = {"default-src 'none'", "frame-ancestors 'none'"}
PAGE = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}


@pytest.fixture
def admin(db) -> Client:
    """A browser that has signed in to the admin pages."""
    User.objects.create_superuser("root", "root@example.com", "analytical-engine")
    client = Client()
    assert client.login(username="root", password="analytical-engine")
    return client


def policy(response) -> set[str]:
    """Return the directives of an answer's policy, with the nonce taken out of its value."""
    value = response["Content-Security-Policy"]
    return set(re.sub(r"'nonce-[^']+'", "'nonce-…'", value).split("; "))


def test_every_answer(db, client: Client, subtests: pytest.Subtests):
    """Whatever is answered, no page may frame it, guess its type or use the user's devices."""
    for path, status in (
        ("/", 302),
        ("/admin/login/", 200),
        ("/api/docs/", 200),
        ("/api/users/me/", 401),
        ("/livez", 200),
        ("/nothing", 404),
        ("/static/admin/css/base.css", 200),
    ):
        with subtests.test(path=path):
            response = client.get(path)
            response.close()

            assert response.status_code == status
            assert "frame-ancestors 'none'" in policy(response)
            assert "geolocation=()" in response["Permissions-Policy"]
            if path != "/livez":  # which is answered before a request is looked at
                assert response["X-Content-Type-Options"] == "nosniff"
                assert response["Referrer-Policy"] == "same-origin"
                assert response["Cross-Origin-Opener-Policy"] == "same-origin"


def test_a_fault(client: Client, monkeypatch):
    """The answer to a request that ended in a fault is no exception."""

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(health, "readiness", fail)
    client.raise_request_exception = False

    response = client.get("/readyz")

    assert response.status_code == 500
    assert policy(response) == PAGE
    assert "Permissions-Policy" in response


def test_what_is_no_page(db, client: Client, subtests: pytest.Subtests):
    """JSON and files may load nothing at all."""
    for path in ("/api/users/me/", "/static/admin/css/base.css"):
        with subtests.test(path=path):
            response = client.get(path)
            response.close()

            assert policy(response) == NOTHING


def test_scripts(db, client: Client):
    """A worker that is made from a script may load what a page may."""
    response = client.get("/static/admin/js/theme.js")
    response.close()

    assert policy(response) == PAGE


def test_admin_pages(admin: Client, subtests: pytest.Subtests):
    """The admin pages load files of this server, and no script or style that stands in a page."""
    for path in ("/admin/", "/admin/accounts/user/", "/admin/password_change/"):
        with subtests.test(path=path):
            response = admin.get(path)

            assert response.status_code == 200
            assert response["X-Frame-Options"] == "DENY"
            assert policy(response) == PAGE


def test_swagger_ui(db, client: Client):
    """Swagger UI may also show its own pictures, and has one style with a nonce."""
    response = client.get("/api/docs/")

    assert policy(response) - PAGE == {"style-src 'self' 'nonce-…'", "img-src 'self' data:"}
    assert PAGE - policy(response) == {"style-src 'self'", "img-src 'self'"}


def test_redoc(db, client: Client):
    """ReDoc needs a script with a nonce on top, and a worker that it makes itself, to search."""
    response = client.get("/api/redoc/")

    assert policy(response) - PAGE == {
        "script-src 'self' 'nonce-…'",
        "style-src 'self' 'nonce-…'",
        "img-src 'self' data:",
        "worker-src blob:",
    }
    assert PAGE - policy(response) == {"script-src 'self'", "style-src 'self'", "img-src 'self'"}


def test_a_nonce_is_used_once(db, client: Client):
    """The nonce in a page is that of its policy, and another one each time."""
    nonces = set()
    for _ in range(2):
        response = client.get("/api/redoc/")
        (nonce,) = set(re.findall(r'nonce="([^"]+)"', response.text))
        assert f"'nonce-{nonce}'" in response["Content-Security-Policy"]
        nonces.add(nonce)

    assert len(nonces) == 2


def test_https(client: Client, settings):
    """Plain HTTP is sent to HTTPS, whose answers make browsers remember that."""
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 31_536_000

    plain = client.get("/api/users/me/")
    secure = client.get("/api/users/me/", secure=True)

    assert plain.status_code == 301
    assert plain["Location"] == "https://testserver/api/users/me/"
    assert "Strict-Transport-Security" not in plain
    assert secure["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("proxy", [None, ("HTTP_X_FORWARDED_PROTO", "https")])
def test_forwarded_headers(client: Client, settings, proxy: tuple[str, str] | None):
    """Only where a proxy is trusted does its word on the scheme count; on the host, never."""
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = proxy
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}

    response = client.get("/", headers=forwarded)

    if proxy:
        assert response["Location"] == "/api/docs/"
    else:
        assert response["Location"] == "https://testserver/"


@pytest.mark.parametrize("secure", [True, False])
def test_cookies(admin: Client, settings, secure: bool):
    """No script can read the session's cookie, no other site send it, and no plain HTTP show it."""
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = secure

    response = Client().post(
        "/admin/login/", {"username": "root", "password": "analytical-engine"}, secure=secure
    )

    session, csrf = response.cookies["sessionid"], response.cookies["csrftoken"]
    assert session["httponly"]
    for cookie in (session, csrf):
        assert cookie["samesite"] == "Lax"
        assert bool(cookie["secure"]) is secure


def test_other_origins(client: Client, settings, subtests: pytest.Subtests):
    """Pages of the listed origins may use the API, without cookies; those of others may not."""
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]

    for origin, allowed in (
        ("https://app.example.com", True),
        ("https://example.com", False),
        ("null", False),
    ):
        with subtests.test(origin=origin):
            asks = {"origin": origin, "access-control-request-method": "GET"}

            response = client.options("/api/users/me/", headers=asks)

            assert response.get("Access-Control-Allow-Origin") == (origin if allowed else None)
            assert "Access-Control-Allow-Credentials" not in response
            assert client.get("/api/users/me/").get("Access-Control-Allow-Origin") is None
