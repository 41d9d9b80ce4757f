"""Take the pictures of the README: real people in real browsers at a real, rendered project.

    make pictures

The moving one is the moment in which missed events come back. Nothing in it is drawn but the frames
of the two windows and what stands below them, and that is said only once it has been seen. It needs
a Chromium, and looks as it does here with the font Inter (Debian: chromium, fonts-inter).
"""

import base64
import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, WebSocket, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PASSWORD = "analytical-engine"

# Pixels of the picture for each of the page; the README shows it at about half of that.
SCALE = 2
# Of a room, as the page shows it beside its list of rooms, with some space around.
ROOM_WIDTH, ROOM_HEIGHT, MARGIN = 464, 380, 16
# Of each picture; more of them are not seen, and only add to its size.
COLOURS = 192
LARGEST_BYTES = 600_000

BEFORE = [("Ada", "Tea at four?"), ("Grace", "Yes! I take the train.")]
MEANWHILE = ["Are you in the tunnel?", "I bring the cake.", "And milk."]
AFTER = "Got all three. See you at four."

# What stands around the two rooms.
STAGE = """<!DOCTYPE html><meta charset="utf-8"><style>
* { box-sizing: border-box; margin: 0 }
body { background: #eef1f6; color: #1a2233; font: 15px/1.4 Inter, system-ui, sans-serif;
  padding: 22px 22px 0; width: 996px }
.windows { display: grid; gap: 20px; grid-template-columns: 1fr 1fr }
.window { background: #fff; border: 1px solid #d3dae6; border-radius: 12px; overflow: hidden }
.window header { align-items: center; border-bottom: 1px solid #e3e8f0; display: flex; gap: 9px;
  font-weight: 600; height: 42px; padding: 0 16px }
.window small { color: #5b667a; font-size: 13px; font-weight: 400; margin-left: auto }
.dot { background: #16a34a; border-radius: 50%; height: 10px; width: 10px }
.away .dot { background: #dc2626 }
.away header { background: #fdf1f1 }
.room { position: relative; height: ROOM_HEIGHTpx }
.room img { display: block; width: 100% }
.mark { background: #16a34a1f; border-left: 3px solid #16a34a; border-radius: 4px;
  position: absolute; left: 7px; right: 10px }
.caption { align-items: center; display: flex; gap: 14px; height: 74px }
.caption b { background: #1a2233; border-radius: 6px; color: #fff; flex: none; font-size: 14px;
  padding: 3px 10px }
.caption.away b { background: #dc2626 } .caption.back b { background: #16a34a }
.caption p { font-size: 19px; font-weight: 500 }
code { background: #dfe5ef; border-radius: 4px; font: 14px "DejaVu Sans Mono", monospace;
  padding: 2px 6px }
</style>""".replace("ROOM_HEIGHT", str(ROOM_HEIGHT))

# What a page calls `system-ui` is the font that the machine's owner has chosen; here it is Inter.
FONTS = """<?xml version="1.0"?><fontconfig><include>/etc/fonts/fonts.conf</include>{}</fontconfig>
""".format(
    "".join(
        f"""<match><test name="family"><string>{name}</string></test>
        <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>"""
        for name in ("system-ui", "sans", "sans-serif")
    )
)


class Cable:
    """What connects a browser with the server, until it is cut.

    Args:
        target: the port of the server.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = True
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End what is connected, and let nothing connect."""
        self._whole = False
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Connect again."""
        self._whole = True

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if not self._whole:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._ends |= {near, far}
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends -= {source, target}


class Person:
    """Somebody who has registered, in a browser of their own."""

    def __init__(
        self, browser: Browser, name: str, server: int, *, width: int, height: int
    ) -> None:
        self.name = name
        self.cable = Cable(server)
        self.context = browser.new_context(
            base_url=f"http://127.0.0.1:{self.cable.port}",
            device_scale_factor=SCALE,
            locale="en-GB",
            viewport={"width": width, "height": height},
        )
        self.page = self.context.new_page()
        # Of each socket, its address and the messages that came over it.
        self.sockets: list[tuple[str, list[str]]] = []
        self.page.on("websocket", self._listen)
        self.page.goto("/chat/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_text("New here?").click()
        self.page.get_by_label("Email").fill(f"{name.lower()}@example.com")
        self.page.get_by_role("button", name="Register").click()
        expect(self.page.get_by_role("heading", name="Rooms")).to_be_visible()

    def make(self, room: str) -> None:
        """Make a room, and be in it."""
        self.page.get_by_label("New room").fill(room)
        self.page.get_by_role("button", name="Make").click()
        self._arrive(room)

    def enter(self, room: str) -> None:
        """Join a room that was there before."""
        self.page.get_by_role("button", name=room).click()
        self._arrive(room)

    def say(self, text: str) -> None:
        """Send a message."""
        self.field.fill(text)
        self.field.press("Enter")

    def leave_network(self) -> None:
        """Lose the connection, as in a tunnel."""
        self.context.set_offline(True)
        self.cable.cut()
        expect(self.status).to_have_text("connecting…")

    def rejoin_network(self) -> None:
        """Have it again."""
        self.cable.mend()
        self.context.set_offline(False)
        expect(self.status).to_have_text("", timeout=30_000)

    @property
    def field(self):
        """Where one writes."""
        return self.page.get_by_label("Message")

    @property
    def status(self):
        """What the page says of the connection."""
        return self.page.locator("#status")

    @property
    def texts(self):
        """The messages that the page shows."""
        return self.page.locator("#log .text")

    def _listen(self, connection: WebSocket) -> None:
        messages: list[str] = []
        self.sockets.append((connection.url, messages))

        def take(data: str | bytes) -> None:
            frame = json.loads(data)
            if frame["type"] == "chat.message":
                messages.append(frame["text"])

        connection.on("framereceived", take)

    def _arrive(self, room: str) -> None:
        expect(self.page.get_by_role("heading", name=room)).to_be_visible()
        expect(self.status).to_have_text("")
        expect(self.field).to_be_focused()
        self.field.blur()


class Film:
    """Frames of two rooms side by side, and what stands below them."""

    def __init__(self, stage: Page, people: tuple[Person, Person]) -> None:
        self.stage, self.people = stage, people
        self.frames: list[tuple[Image.Image, int]] = []

    def show(
        self, seconds: float, badge: str, text: str, kind: str = "", *, marked: int = 0
    ) -> None:
        """Add a frame; `marked` of the last messages of the second room stand out."""
        windows = "".join(
            self._window(person, marked if person is self.people[1] else 0)
            for person in self.people
        )
        caption = f'<div class="caption {kind}"><b>{badge}</b><p>{text}</p></div>'
        self.stage.set_content(f'{STAGE}<div class="windows">{windows}</div>{caption}')
        picture = self.stage.locator("body").screenshot()
        self.frames.append((Image.open(io.BytesIO(picture)).convert("RGB"), int(seconds * 1000)))

    def _window(self, person: Person, marked: int) -> str:
        room = person.page.locator("section").bounding_box()
        clip = {"x": room["x"] - MARGIN, "y": room["y"] - MARGIN}
        clip |= {"width": ROOM_WIDTH, "height": ROOM_HEIGHT}
        picture = base64.b64encode(person.page.screenshot(clip=clip)).decode()
        away = person.status.text_content() != ""
        mark = ""
        if marked:
            first, last = (person.texts.nth(number).bounding_box() for number in (-marked, -1))
            top, bottom = first["y"] - clip["y"] - 3, last["y"] + last["height"] - clip["y"] + 3
            mark = f'<div class="mark" style="top:{top}px;height:{bottom - top}px"></div>'
        return (
            f'<div class="window{" away" * away}"><header><span class="dot"></span>{person.name}'
            f"<small>{'offline' if away else 'online'}</small></header>"
            f'<div class="room"><img src="data:image/png;base64,{picture}">{mark}</div></div>'
        )

    def save(self, path: Path) -> None:
        """Write the frames as one moving picture, with colours that all of them share."""
        seen = Image.new("RGB", (self.frames[0][0].width, self.frames[0][0].height * 3))
        for number, index in enumerate((0, len(self.frames) // 2, len(self.frames) - 2)):
            seen.paste(self.frames[index][0], (0, number * self.frames[0][0].height))
        palette = seen.quantize(COLOURS, dither=Image.Dither.NONE)
        frames = [
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame, _ in self.frames
        ]
        durations = [duration for _, duration in self.frames]
        frames[0].save(
            path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True
        )


def main() -> None:
    """Render a project, serve it, and take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        fonts = Path(folder, "fonts.conf")
        fonts.write_text(FONTS)
        os.environ["FONTCONFIG_FILE"] = str(fonts)
        with served(Path(folder)) as port, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium())
            take_resume(browser, port)
            take_pages(browser, port)
            browser.close()
    for path in sorted(IMAGES.iterdir()):
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size:,} bytes")
        if size > LARGEST_BYTES:
            sys.exit(f"That is more than {LARGEST_BYTES:,}: fewer frames, or fewer colours.")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    """Render the defaults into `folder` and serve them; gives the port."""
    template = ["cookiecutter", ROOT, "--no-input", "--output-dir", folder]
    run([*template, "verify_project=false", "project_name=My Realtime Backend"], folder)
    project = folder / "my-realtime-backend"
    run(["make", "install", "migrate"], project)
    command = [project / ".venv/bin/python", "manage.py", "runserver", "127.0.0.1:0", "--noreload"]
    with subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            yield next(
                int(found[1])
                for line in server.stdout
                if (found := re.search(r"http://127\.0\.0\.1:(\d+)/", line))
            )
        finally:
            server.terminate()


def take_resume(browser: Browser, port: int) -> None:
    """Two people; one is away for a while, and gets what was said meanwhile."""
    ada, grace = (
        Person(browser, name, port, width=ROOM_WIDTH + 248, height=ROOM_HEIGHT + 48)
        for name in ("Ada", "Grace")
    )
    ada.make("Tea")
    # What there is stands in the list from the start.
    grace.page.get_by_role("button", name="Sign out").click()
    grace.page.get_by_label("Username").fill("Grace")
    grace.page.get_by_label("Password").fill(PASSWORD)
    grace.page.get_by_role("button", name="Sign in").click()
    grace.enter("Tea")
    film = Film(
        browser.new_page(device_scale_factor=SCALE, viewport={"width": 996, "height": 560}),
        (ada, grace),
    )

    people = {"Ada": ada, "Grace": grace}
    together = ("1", "Two people in a room of the chat that comes with the project.")
    for name, text in BEFORE:
        type_and_say(film, people[name], text, *together)
    wait_for(people.values(), [text for _, text in BEFORE])
    film.show(1.4, *together)

    grace.leave_network()
    away = "Grace is offline: her connection is cut."
    film.show(1.8, "2", away, "away")
    said = [text for _, text in BEFORE]
    for number, text in enumerate(MEANWHILE, 1):
        type_and_say(film, ada, text, "2", away, "away")
        said.append(text)
        wait_for([ada], said)
        away = f"Grace is offline. {number} message{'s' if number > 1 else ''} meanwhile."
        film.show(0.7, "2", away, "away")
    expect(grace.texts).to_have_text([text for _, text in BEFORE])
    film.show(1.2, "2", f"{away} She has seen none of them.", "away")

    grace.rejoin_network()
    wait_for([ada, grace], said)
    address, came = grace.sockets[-1]
    asked = re.search(r"since=\d+", address)[0]
    assert came == MEANWHILE, came
    replayed = len(came)
    back = (
        f"Grace is back and asks for <code>?{asked}</code>: {len(MEANWHILE)} missed,"
        f" {replayed} replayed, in order."
    )
    film.show(3.5, "3", back, "back", marked=replayed)
    type_and_say(film, grace, AFTER, "3", back, "back")
    wait_for([ada, grace], [*said, AFTER])
    film.show(3.5, "3", back, "back")
    film.save(IMAGES / "resume.gif")
    if frames := os.environ.get("FRAMES"):
        for number, (frame, _) in enumerate(film.frames):
            frame.save(Path(frames, f"{number:02}.png"))


def type_and_say(film: Film, person: Person, text: str, *caption: str) -> None:
    """Send a message, so that one sees it being typed."""
    for end in (len(text) // 2, len(text)):
        person.field.fill(text[:end])
        film.show(0.25, *caption)
    person.field.press("Enter")
    person.field.blur()


def wait_for(people, texts: list[str]) -> None:
    """Wait until these have exactly these messages, in this order."""
    for person in people:
        expect(person.texts).to_have_text(texts)
        expect(person.page.locator(".sending")).to_have_count(0)
        # Who types is told for three seconds, which would be another picture each time.
        expect(person.page.locator("#typing")).to_have_text("")


def take_pages(browser: Browser, port: int) -> None:
    """The pages of the API."""
    page = browser.new_page(
        base_url=f"http://127.0.0.1:{port}",
        device_scale_factor=SCALE,
        viewport={"width": 1160, "height": 720},
    )
    page.goto("/api/docs/")
    expect(page.locator(".opblock").first).to_be_visible()
    save(page, "api.png")


def save(page: Page, name: str) -> None:
    """Write what a page shows, in few colours."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


def chromium() -> str:
    """Return the path of the browser."""
    sys.path.insert(0, str(ROOT))
    from tests.browser.chromium import executable

    return executable()


def run(command: list, folder: Path) -> None:
    """Run a command to its end; its output is shown where it fails."""
    env = os.environ | {"COOKIECUTTER_CONFIG": os.devnull}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(map(str, command))} failed")


if __name__ == "__main__":
    main()
