"""The project's own client in a page: through restarts, refused tokens and several tabs."""

import re
import signal
import time
from typing import Any

import pytest
from playwright.sync_api import Page

from ..stack.stack import WAIT_SECONDS, Stack
from .chromium import Visitor

pytestmark = pytest.mark.xdist_group("browser")

# What a page of one's own would do; `seen` is what came of it.
LISTEN = """
async ([tokens, options]) => {
  const { RealtimeClient } = await import("/static/realtime/client.js");
  const seen = window.seen = { numbers: [], texts: [], resets: [], statuses: [], asked: [] };
  window.client = new RealtimeClient({
    getToken: async (refused) => {
      seen.asked.push(refused);
      return refused ? tokens.at(-1) : tokens[0];
    },
    onEvent: (event) => {
      if (event.type === "chat.message") seen.texts.push(event.text);
      else seen.numbers.push(event.number);
    },
    onReset: (position) => seen.resets.push(position.seq),
    onStatus: (...status) => seen.statuses.push(status),
    ...options,
  });
}
"""


def until(page: Page, condition: str) -> None:
    """Wait until a condition comes true in a page."""
    deadline = time.monotonic() + WAIT_SECONDS
    # Asked from here: what Playwright could wait for in the page, the page's policy forbids.
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, page.evaluate("window.seen")
        page.wait_for_timeout(50)


class Listener:
    """A tab that runs the client."""

    def __init__(self, page: Page, *tokens: str, **options: Any) -> None:
        self.page = page
        self.sockets: list[str] = []
        page.on("websocket", lambda socket: self.sockets.append(socket.url))
        page.evaluate(LISTEN, [list(tokens), options])

    def until(self, condition: str) -> dict[str, Any]:
        """Wait until a condition on `seen` comes true, and return what was seen."""
        until(self.page, condition)
        return self.page.evaluate("seen")

    def opened(self) -> "Listener":
        """Wait for the connection."""
        self.until("client.status === 'open'")
        return self


@pytest.fixture
def notify(page: Visitor, person: dict, stack: Stack) -> Any:
    """A function that notifies the person of a number."""
    me = page.do("get", "/api/users/me/", person["access"])["id"]
    return lambda number: stack.nginx.request(f"/newsroom/sync/{me}/{number}/")


def test_restart(page: Visitor, person: dict, stack: Stack, notify: Any) -> None:
    """While the server is away the client tries again, and then has every event, once."""
    listener = Listener(page.page, person["access"]).opened()
    notify(1)
    listener.until("seen.numbers.length === 1")
    (daphne, *_) = stack.backends
    daphne.stop()
    try:
        listener.until("client.status === 'connecting'")
        notify(2)
    finally:
        daphne.start()
    notify(3)

    seen = listener.until("seen.numbers.length >= 3")

    assert seen["numbers"] == [1, 2, 3]
    assert [status for status, *_ in seen["statuses"]] == ["connecting", "open"] * 2
    assert seen["resets"] == []


def test_silence(page: Visitor, person: dict, stack: Stack, notify: Any) -> None:
    """A connection that has gone silent counts as broken, long before the network says so."""
    listener = Listener(page.page, person["access"], pingSeconds=0.5).opened()
    (daphne, *_) = stack.backends
    daphne.running.send_signal(signal.SIGSTOP)
    try:
        listener.until("client.status === 'connecting'")
    finally:
        daphne.running.send_signal(signal.SIGCONT)
    listener.opened()
    notify(1)

    assert listener.until("seen.numbers.length >= 1")["numbers"] == [1]


def test_a_fresh_token(page: Visitor, person: dict) -> None:
    """A token that is refused is asked for again, and only then."""
    listener = Listener(page.page, "nonsense", person["access"], share=False).opened()

    assert listener.until("true")["asked"] == [False, True]


def test_no_token(page: Visitor, person: dict) -> None:
    """What cannot be a token is asked for again, with patience."""
    listener = Listener(page.page, "", person["access"])
    listener.until("seen.asked.length > 3")
    assert listener.sockets == []


def test_a_token_at_once(page: Visitor, person: dict) -> None:
    """A page that has its token at hand need not promise it."""
    page.do(
        """async (token) => {
          const { RealtimeClient } = await import("/static/realtime/client.js");
          window.client = new RealtimeClient({ getToken: () => token });
        }""",
        person["access"],
    )

    until(page.page, "client.status === 'open'")


def test_nothing_there(page: Visitor, person: dict) -> None:
    """Where the server wants no further try, the page is told, and there is none."""
    listener = Listener(page.page, person["access"], url="/ws/chat/nowhere/")

    seen = listener.until("client.status === 'closed'")

    assert seen["statuses"] == [["connecting", None], ["closed", 4404]]
    assert len(listener.sockets) == 1

    # Another client of the page does not wait for the first one.
    again = Listener(page.page, person["access"], url="/ws/chat/nowhere/")
    assert again.until("client.status === 'closed'")["statuses"][-1] == ["closed", 4404]


def test_a_position_that_is_gone(page: Visitor, person: dict, notify: Any) -> None:
    """A page that comes with a position of another history is told to load the present state."""
    notify(1)
    gone = {"epoch": "00000000-0000-4000-8000-000000000000", "seq": 5}
    listener = Listener(page.page, person["access"], position=gone)
    assert listener.until("seen.resets.length === 1")["resets"] == [1]
    notify(2)

    seen = listener.until("seen.numbers.length >= 1")

    assert (seen["numbers"], len(seen["resets"])) == ([2], 1)


def test_tabs(page: Visitor, person: dict, notify: Any) -> None:
    """Tabs of one user share a connection; when its tab goes, the next one continues."""
    first = Listener(page.page, person["access"]).opened()
    notify(1)
    first.until("seen.numbers.length === 1")
    position = first.page.evaluate("client.position")
    second, third, late = (page.context.new_page() for _ in range(3))
    for tab in (second, third, late):
        tab.goto("/admin/login/")
    second = Listener(second, person["access"]).opened()
    third = Listener(third, person["access"]).opened()
    notify(2)
    assert second.until("seen.numbers.length >= 1")["numbers"] == [2]
    assert third.until("seen.numbers.length >= 1")["numbers"] == [2]
    assert [len(tab.sockets) for tab in (first, second, third)] == [1, 0, 0]

    # It asks for what the shared connection has behind it, so it gets one of its own.
    late = Listener(late, person["access"], position=position).opened()
    assert late.until("seen.numbers.length >= 1")["numbers"] == [2]
    assert len(late.sockets) == 1

    first.page.close()
    notify(3)
    for tab, numbers in ((second, [2, 3]), (third, [2, 3]), (late, [2, 3])):
        assert tab.until("seen.numbers.length >= 2")["numbers"] == numbers
    assert sorted(len(tab.sockets) for tab in (second, third)) == [0, 1]


def test_sending(page: Visitor, person: dict) -> None:
    """A frame goes through whichever tab has the connection, and none is promised without one."""
    room = page.do("token => post('/api/chat/rooms/', { name: 'Tabs' }, token)", person["access"])
    url = f"/ws/chat/{room['slug']}/"
    first = Listener(page.page, person["access"], url=url).opened()
    tab = page.context.new_page()
    tab.goto("/admin/login/")
    second = Listener(tab, person["access"], url=url).opened()

    assert second.page.evaluate("client.send({ type: 'chat.message', text: 'Hello' })")

    assert first.until("seen.texts.length >= 1")["texts"] == ["Hello"]
    assert second.until("seen.texts.length >= 1")["texts"] == ["Hello"]
    second.page.evaluate("client.close()")
    assert not second.page.evaluate("client.send({ type: 'chat.message', text: 'Bye' })")


def test_the_readme(page: Visitor, person: dict, stack: Stack, notify: Any) -> None:
    """The page of the README shows what its user is notified of."""
    readme = (stack.project.folder / "README.md").read_text()
    (example,) = re.findall(r"```js\n(import \{ RealtimeClient.*?)```", readme, re.DOTALL)
    body = re.sub(r"import (.*?) from (.*?);", r"const \1 = await import(\2);", example)
    page.page.evaluate("document.title = ''")
    # In place of the console, which only a person reads.
    body = body.replace("console.log(event)", "document.title += event.number")
    page.do(f"async (token) => {{ {body} window.client = client; }}", person["access"])
    until(page.page, "client.status === 'open'")

    notify(7)

    until(page.page, "document.title === '7'")
