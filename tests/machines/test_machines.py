"""A stranger's first minute on every Python that the README names, where nothing of ours is there.

Each machine has one Python and the pip that came with it: a container where Docker runs, else a
Python of this machine with an empty home. What is typed there stands in `stranger.sh`.
"""

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ..bare import bare
from ..faults.process import free_port
from ..template import OPTIONS, ROOT, TOOLS, pythons, run

IN_CONTAINERS = run(["sh", "-c", "docker version >/dev/null 2>&1"]).returncode == 0
PYTHONS = sorted(OPTIONS["python_version"]) if IN_CONTAINERS else sorted(pythons())

# git and make are what the README asks for besides Python.
DOCKERFILE = """
FROM python:{python}-slim
RUN apt-get update && apt-get install --yes --no-install-recommends git make && \
    rm -rf /var/lib/apt/lists/* && useradd --create-home stranger
{uv}
"""


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of this repository holds, and nothing that was made here."""
    folder = tmp_path_factory.mktemp("copy") / "template"
    names = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@functools.cache
def image(python: str, uv: bool) -> str:
    """Build the image of a machine and return its name."""
    name = f"stranger:{python}{'-uv' if uv else ''}"
    text = DOCKERFILE.format(python=python, uv="RUN pip install --quiet uv" if uv else "")
    done = subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return name


def typed(python: str, copy: Path, folder: Path, *words: str, uv: bool, root: bool) -> str:
    """Return what a machine shows after `stranger.sh` with these words."""
    script = "cp -r {copy} {home}/template && cd {home}/template && sh tests/machines/stranger.sh "
    script += " ".join(words)
    if IN_CONTAINERS:
        home = "/root" if root else "/home/stranger"
        command = ["docker", "run", "--rm", "--volume", f"{copy}:/copy:ro"]
        command += ["--user", "root" if root else "stranger", image(python, uv)]
        done = run([*command, "sh", "-c", script.format(copy="/copy", home=home)])
    else:
        env = bare(folder / "machine", pythons()[python], *([TOOLS / "uv"] if uv else []))
        done = run(["sh", "-c", script.format(copy=copy, home=env["HOME"])], env=env)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("python", PYTHONS)
def test_the_first_command_serves(python: str, copy: Path, tmp_path: Path) -> None:
    """`make demo`, by an ordinary user without uv: the project is verified, and its API answers."""
    output = typed(python, copy, tmp_path, "demo", str(free_port()), uv=False, root=False)
    assert "served demo\n" in output
    assert int(re.search(r"tests: (\d+) passed", output)[1]) > 100
    assert "unverified" not in output


@pytest.mark.parametrize("database", OPTIONS["database"])
@pytest.mark.parametrize("python", PYTHONS)
def test_a_project_of_each_database_verifies(
    python: str, database: str, copy: Path, tmp_path: Path
) -> None:
    """Cookiecutter from PyPI, once by root with uv, once by an ordinary user without."""
    root = database == "sqlite"
    output = typed(python, copy, tmp_path, "render", database, uv=root, root=root)
    assert re.search(rf"4  Installed the packages of .* on Python {python}\b", output), output
    assert re.search(r"6  tests: \d+ passed", output), output
    assert "7  ready: " in output
