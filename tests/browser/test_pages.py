"""The pages work in a browser, under the policy that they come with."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from ..stack.stack import Stack
from .chromium import Visitor

pytestmark = pytest.mark.xdist_group("browser")

ROOT = ("root", "analytical-engine")


@pytest.fixture(params=["nginx", "daphne"])
def visit(
    request: pytest.FixtureRequest, stack: Stack, visitor: Callable[[str], Visitor]
) -> Visitor:
    """Somebody who visits the server with nginx before it, or Daphne alone."""
    port = stack.nginx.port if request.param == "nginx" else stack.port
    return visitor(f"http://127.0.0.1:{port}")


@pytest.fixture(scope="package")
def root(stack: Stack) -> None:
    """There is somebody who may use the admin pages."""
    name, password = ROOT
    stack.project.manage(
        *("createsuperuser", "--no-input", "--username", name, "--email", "root@example.com"),
        environment=stack.environment | {"DJANGO_SUPERUSER_PASSWORD": password},
    )


@pytest.fixture
def admin(visit: Visitor, root: None) -> Visitor:
    """That person has signed in."""
    visit.visit("/admin/")
    name, password = ROOT
    visit.page.get_by_label("Username").fill(name)
    visit.page.get_by_label("Password").fill(password)
    visit.page.get_by_role("button", name="Log in").click()
    expect(visit.page.get_by_role("heading", name="Site administration")).to_be_visible()
    return visit


def operations(visit: Visitor) -> int:
    """Count what the schema lists."""
    return visit.do(
        """async () => {
            const answer = await fetch("/api/schema/?format=json");
            const { paths } = await answer.json();
            return Object.values(paths).flatMap(Object.keys).length;
        }"""
    )


def test_swagger_ui(visit: Visitor) -> None:
    """It lists every operation, and sends requests with a token that was typed in."""
    visit.visit("/")
    page = visit.page

    expect(page.locator(".opblock")).to_have_count(operations(visit))

    tokens = visit.do("register", f"swagger-{visit.origin.rpartition(':')[2]}")
    page.get_by_role("button", name="Authorize").click()
    page.get_by_role("textbox").fill(tokens["access"])
    page.locator(".auth-btn-wrapper .authorize").click()
    page.get_by_role("button", name="Close").last.click()
    operation = page.locator("#operations-users-users_me_retrieve")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status")).to_have_text("200")
    expect(answer).to_contain_text(tokens["username"])
    assert visit.complaints == []


def test_redoc(visit: Visitor) -> None:
    """It shows every operation, and finds one by a word."""
    visit.visit("/api/redoc/")
    page = visit.page

    expect(page.locator("[id*='/operation/']")).to_have_count(operations(visit))

    page.get_by_placeholder("Search...").fill("ticket")
    expect(page.locator("[data-role='search:results']")).to_contain_text("Buy a ticket")
    assert visit.complaints == []


def test_what_the_policy_forbids(visit: Visitor) -> None:
    """A script or a picture that is slipped into a page does not run or load, and is heard of."""
    visit.visit("/admin/login/")
    ran = visit.do(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            const picture = new Image();
            const failed = new Promise((resolve) => { picture.onerror = resolve; });
            picture.src = "http://127.0.0.2:9/picture.png";
            document.body.append(script, picture);
            await failed;
            return "ran" in window;
        }"""
    )
    assert ran is False
    assert "policy: script-src-elem forbids inline" in visit.complaints
    assert "policy: img-src forbids http://127.0.0.2:9/picture.png" in visit.complaints
    assert "request: http://127.0.0.2:9/picture.png" in visit.complaints


def test_change_lists(admin: Visitor) -> None:
    """Each list of the admin pages shows itself."""
    addresses = admin.page.locator("th.model-name a, th[scope=row] a").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    assert "/admin/accounts/user/" in addresses
    for address in addresses:
        admin.visit(address)
        expect(admin.page.locator("#changelist")).to_be_visible()
    assert admin.complaints == []


def test_forms(admin: Visitor) -> None:
    """The scripts of the admin forms run: dates, rows that are added, names that are filled in."""
    page = admin.page
    admin.visit("/admin/accounts/user/")
    page.get_by_role("link", name="root", exact=True).click()
    login = page.locator("#id_last_login_0")
    login.clear()
    page.get_by_role("link", name="Today").first.click()
    expect(login).to_have_value(re.compile(r"\d{4}-\d\d-\d\d"))
    page.get_by_role("button", name="Toggle theme").click()

    admin.visit("/admin/chat/room/add/")
    page.get_by_label("Name").press_sequentially("Böse Bar")
    expect(page.get_by_label("Slug")).to_have_value("bose-bar")
    page.get_by_text("Add another Member").click()
    expect(page.locator("#memberships-0")).to_be_visible()
    assert admin.complaints == []
