"""Package indexes for tests: what the real one says, changed on the way."""

import hashlib
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

JSON = "application/vnd.pypi.simple.v1+json"
REAL = (
    os.environ.get("PIP_INDEX_URL")
    or os.environ.get("UV_DEFAULT_INDEX")
    or "https://pypi.org/simple"
)


def page(name: str) -> dict:
    """Return what the real index says of a project, with patience.

    Raises:
        OSError: there is no such project, or no answer in the end.
    """
    request = Request(f"{REAL.rstrip('/')}/{name}/", headers={"Accept": JSON})
    for pause in (1, 2, 4):
        with suppress(OSError):
            return fetched(request)
        time.sleep(pause)
    return fetched(request)


def fetched(request: Request) -> dict:
    """Return the JSON that answers a request."""
    with urlopen(request, timeout=60) as answer:  # nosec B310: of the package index
        return json.load(answer)


class Index:
    """A package index on loopback: `change` turns what the real one says into what it says."""

    def __init__(self, change: Callable[["Index", dict], dict | bytes]) -> None:
        self.change = change
        self.asked: list[tuple[str, str]] = []  # (path, who)
        self.files: dict[str, bytes] = {}
        self.url = ""

    def answer(self, path: str, agent: str) -> tuple[str, bytes]:
        """Return the type and the body of an answer."""
        self.asked.append((path, agent.partition("/")[0]))
        name = path.strip("/").rpartition("/")[2]
        if path.startswith("/files/"):
            return "application/octet-stream", self.files[name]
        changed = self.change(self, page(name))
        if isinstance(changed, bytes):
            return "text/html", changed
        return JSON, json.dumps(changed).encode()

    def add(self, page: dict, filename: str, content: bytes) -> None:
        """Let a project's page offer one more file."""
        self.files[filename] = content
        page["files"].append(
            {
                "filename": filename,
                "url": f"{self.url}/files/{filename}",
                "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
                "requires-python": ">=3.9",
                "yanked": False,
            }
        )


@contextmanager
def index(change: Callable[[Index, dict], dict | bytes]) -> Iterator[Index]:
    """Run an index; its address for pip and uv is `url` with `/simple`."""
    served = Index(change)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                kind, body = served.answer(self.path, self.headers.get("User-Agent", ""))
            except (OSError, KeyError):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def newer(served: Index, page: dict) -> dict:
    """Offer a newer release of everything, which says so when it is imported."""
    name = page["name"].replace("-", "_").replace(".", "_")
    served.add(page, f"{name}-9999.0-py3-none-any.whl", wheel(name, "9999.0"))
    page["versions"] = [*page.get("versions", ()), "9999.0"]
    return page


def broken(served: Index, page: dict) -> dict:
    """Offer a newest release that cannot be installed: no wheel, and not even metadata."""
    name = page["name"].replace("-", "_").replace(".", "_")
    served.add(page, f"{name}-9999.0-py3-none-any.whl", b"this is no archive")
    served.add(page, f"{name}-9999.0.tar.gz", b"nor is this")
    page["versions"] = [*page.get("versions", ()), "9999.0"]
    return page


def nonsense(served: Index, page: dict) -> bytes:
    """Answer as a hotel's network does before one has signed in."""
    return b"<!doctype html><title>Welcome</title><p>Please accept our terms."


def without_wheels_of(*names: str) -> Callable[[Index, dict], dict]:
    """Offer of some projects the source only."""

    def change(served: Index, page: dict) -> dict:
        if page["name"] in names:
            page["files"] = [file for file in page["files"] if file["filename"][-4:] != ".whl"]
        return page

    return change


def wheel(name: str, version: str) -> bytes:
    """Return the smallest wheel of a distribution."""
    folder = f"{name}-{version}.dist-info"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}_newer.py", "")
        archive.writestr(
            f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{folder}/RECORD", "")
    return content.getvalue()
