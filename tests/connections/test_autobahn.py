"""Autobahn's test suite: does the server speak WebSocket as RFC 6455 has it."""

import asyncio
import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from ..faults.cluster import Cluster
from ..faults.servers import Daphne
from ..template import ROOT

pytestmark = pytest.mark.xdist_group("autobahn")

HERE = Path(__file__).parent
# The suite runs on Python 2.7 only; its requirements are locked beside this file.
REQUIREMENTS = HERE / "autobahn.txt"
SUITE_SECONDS = 600
# 12 and 13 are about compression, which this server does not offer.
SPECIFICATION = {"cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {}}
# Not strict: what is wrong is noticed once the frame is complete, not at its first wrong octet.
PASSED = {"OK", "INFORMATIONAL", "NON-STRICT"}
# The largest messages of the suite have 16 MiB, and it sends as fast as it can.
LIMITS = {
    "REALTIME_MAX_FRAME_BYTES": str(17 * 1024 * 1024),
    "REALTIME_BUFFER_BYTES": str(64 * 1024 * 1024),
    "REALTIME_FRAMES_PER_SECOND": "1000000",
    "REALTIME_FRAMES_BURST": "1000000",
}


def python2() -> str | None:
    """Return a Python 2.7: one that pyenv has installed, whose shim may not work, or any other."""
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = next(installed.glob("2.7*/bin/python2.7"), None)
    return str(found) if found else shutil.which("python2.7")


@pytest.fixture(scope="module")
def suite() -> list[str]:
    """The command of the suite, which is installed once for each version of its requirements."""
    python = python2()
    if python is None:
        pytest.skip("Autobahn's test suite needs Python 2.7: `pyenv install 2.7` provides it")
    folder = ROOT / ".cache" / f"autobahn-{sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [python, "-m", "pip", "install", "--quiet", "--no-warn-script-location"]
        options = ["--no-deps", "--target", unfinished, "--requirement", REQUIREMENTS]
        subprocess.run([*command, *options], check=True)
        unfinished.rename(folder)
    # zope is a namespace, which only a site folder gives.
    start = f"import site; site.addsitedir({str(folder)!r}); "
    return [python, "-W", "ignore", "-c", start + "from autobahntestsuite.wstest import run; run()"]


async def test_protocol(cluster: Cluster, suite: list[str]) -> None:
    """Every case of the suite passes: framing, fragments, UTF-8, closing and sixteen megabytes."""
    environment = cluster.environment | LIMITS | {"REDIS_URL": ""}
    environment["DJANGO_SETTINGS_MODULE"] = "backend.settings"
    environment["PYTHONPATH"] = str(cluster.project.folder)
    server = Daphne("echo", cluster.folder, cluster.project, environment)
    server.command[1:3] = [str(HERE / "inside" / "echo.py")]
    await cluster.run(server)

    reports = cluster.folder / "autobahn"
    specification = cluster.folder / "autobahn.json"
    servers = [{"agent": "project", "url": f"{server.url}/ws/echo/"}]
    specification.write_text(
        json.dumps(SPECIFICATION | {"servers": servers, "outdir": str(reports)})
    )
    output = cluster.folder / "autobahn.out"
    with output.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(*suite, "--mode", "fuzzingclient", "--spec", str(specification)),
            cwd=cluster.folder,
            stdout=written,
            stderr=written,
        )
    try:
        await asyncio.wait_for(process.wait(), SUITE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.read_text()[-2_000:]

    results = json.loads((reports / "index.json").read_text())["project"]
    assert len(results) > 240
    failed = {
        case: (result["behavior"], result["behaviorClose"])
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= PASSED
    }
    assert failed == {}, failed
