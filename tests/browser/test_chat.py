"""The chat's page: two people who meet in a room, and what a restart does to them."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from ..stack.stack import Stack
from .chromium import Visitor

pytestmark = pytest.mark.xdist_group("browser")

PASSWORD = "pass-word-9"


@pytest.fixture
def people(
    stack: Stack, visitor: Callable[[str], Visitor], accounts: Iterator[str]
) -> tuple[Visitor, Visitor]:
    """Two who have registered; the first has made a room, and both are in it."""
    visitors = tuple(visitor(f"http://127.0.0.1:{stack.nginx.port}") for _ in range(2))
    for each in visitors:
        each.visit("/chat/")
        each.name = next(accounts)
        each.page.get_by_label("Username").fill(each.name)
        each.page.get_by_label("Password").fill(PASSWORD)
        each.page.get_by_text("New here?").click()
        each.page.get_by_label("Email").fill(f"{each.name}@example.com")
        each.page.get_by_role("button", name="Register").click()
        expect(each.page.get_by_role("heading", name="Rooms")).to_be_visible()
    first, second = visitors
    room = f"Room of {first.name}"
    first.page.get_by_label("New room").fill(room)
    first.page.get_by_role("button", name="Make").click()
    expect(first.page.get_by_role("heading", name=room)).to_be_visible()
    # What there is stands in the list from the start, what is new after signing in again.
    sign_out(second)
    sign_in(second)
    second.page.get_by_role("button", name=room).click()
    expect(second.page.get_by_label("Message")).to_be_visible()
    return first, second


def sign_in(visitor: Visitor, password: str = PASSWORD) -> None:
    """Sign in with the form."""
    visitor.page.get_by_label("Username").fill(visitor.name)
    visitor.page.get_by_label("Password").fill(password)
    visitor.page.get_by_role("button", name="Sign in").click()


def sign_out(visitor: Visitor) -> None:
    """Sign out with the button."""
    visitor.page.get_by_role("button", name="Sign out").click()
    expect(visitor.page.get_by_role("button", name="Sign in")).to_be_visible()


def say(page: Page, text: str) -> None:
    """Send a message with the form."""
    page.get_by_label("Message").press_sequentially(text)
    page.get_by_label("Message").press("Enter")


def test_talking(people: tuple[Visitor, Visitor]) -> None:
    """Each sees at once what the other says, types and takes back; who comes later sees it too."""
    ada, bob = people
    expect(ada.page.locator("#log")).to_contain_text(f"{bob.name} is here")
    say(bob.page, "Hello <b>all</b>")
    expect(ada.page.locator("#log .text")).to_have_text(["Hello <b>all</b>"])
    expect(bob.page.locator("#log .text")).to_have_text(["Hello <b>all</b>"])
    expect(bob.page.locator(".sending")).to_have_count(0)

    ada.page.get_by_label("Message").press_sequentially("Hm")
    expect(bob.page.locator("#typing")).to_contain_text(ada.name)
    expect(bob.page.locator("#typing")).to_have_text("")

    expect(ada.page.get_by_role("button", name="Delete")).to_have_count(0)
    bob.page.get_by_role("button", name="Delete").click()
    expect(ada.page.locator("#log .text")).to_have_text(["(deleted)"])
    expect(bob.page.get_by_role("button", name="Delete")).to_have_count(0)

    sign_out(bob)
    expect(ada.page.locator("#log")).to_contain_text(f"{bob.name} has left")
    sign_in(bob)
    bob.page.get_by_role("button", name=f"Room of {ada.name}").click()
    expect(bob.page.locator("#log .text")).to_have_text(["(deleted)"])
    assert ada.complaints == bob.complaints == []


def test_restart(people: tuple[Visitor, Visitor], stack: Stack) -> None:
    """What is said while the server is away arrives when it is back, once."""
    ada, bob = people
    say(bob.page, "before")
    expect(ada.page.locator("#log .text")).to_have_text(["before"])
    (daphne, *_) = stack.backends
    daphne.stop()
    try:
        expect(bob.page.locator("#status")).to_have_text("connecting…")
        say(bob.page, "meanwhile")
        expect(bob.page.locator(".sending")).to_have_text(["meanwhile"])
    finally:
        daphne.start()

    expect(ada.page.locator("#log .text")).to_have_text(["before", "meanwhile"])
    say(bob.page, "after")
    expect(ada.page.locator("#log .text")).to_have_text(["before", "meanwhile", "after"])
    expect(bob.page.locator("#log .text")).to_have_text(["before", "meanwhile", "after"])
    expect(bob.page.locator(".sending")).to_have_count(0)


def test_what_goes_wrong(people: tuple[Visitor, Visitor]) -> None:
    """Who is put out of the room is told so, and so is whoever mistypes a password."""
    ada, bob = people
    account = {"username": ada.name, "password": PASSWORD}
    token = ada.do("post", "/api/token/", account)["access"]
    path = f"/api/chat/rooms/room-of-{ada.name}/kick/"
    ada.do("post", path, {"username": bob.name}, token)
    expect(bob.page.get_by_role("alert")).to_have_text("You are no longer a member of this room.")
    expect(bob.page.get_by_role("heading", name="Choose a room")).to_be_visible()

    sign_out(bob)
    sign_in(bob, "a-wrong-one")
    expect(bob.page.get_by_role("alert")).to_contain_text("No active account")
