"""Rendering on machines that lack something, or have it otherwise than one would think.

These render a copy of the template whose project has a single test.
"""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from ..conftest import write_test
from ..template import TOOLS, environment, render, run
from ..test_hook import NO_NETWORK, UNVERIFIED, project_of


@pytest.fixture
def without_uv(tmp_path: Path) -> dict[str, str]:
    """An environment in which git is there, but uv is not."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git"))
    return {"PATH": str(tools)}


def offer_python(template: Path, version: str) -> None:
    """Add a version to those that the template offers."""
    questions = json.loads((template / "cookiecutter.json").read_text())
    questions["python_version"].append(version)
    (template / "cookiecutter.json").write_text(json.dumps(questions))
    refusals = template / "hooks" / "pre_gen_project.py"
    refusals.write_text(refusals.read_text().replace('["3.13",', f'["{version}", "3.13",'))
    # mypy does not know it.
    pyproject = project_of(template) / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("{{ cookiecutter.python_version }}", "3.13"))


def test_without_network_pip_leaves_the_project_unverified(
    small: Path, tmp_path: Path, without_uv: dict
) -> None:
    """The same where pip has to do it."""
    done = render(tmp_path / "out", template=small, env=NO_NETWORK | without_uv)
    assert done.returncode == 0, done.stdout
    assert UNVERIFIED in done.stdout


def test_without_uv_pip_fetches_it(small: Path, tmp_path: Path, without_uv: dict) -> None:
    """A machine without uv verifies the project too, and `make install` is satisfied with it."""
    done = render(tmp_path / "out", template=small, env=without_uv)
    assert done.returncode == 0, done.stdout
    assert "Installed the packages of requirements-dev.txt on Python 3." in done.stdout
    assert "tests: 1 passed" in done.stdout
    assert run(["make", "--question", "install"], cwd=done.project).returncode == 0


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_what_is_not_the_locked_file_is_not_installed(
    installer: str, small: Path, tmp_path: Path, without_uv: dict
) -> None:
    """Another hash is shown as the reason; the project is kept, without half an environment."""
    lock = project_of(small) / "requirements-dev.txt"
    # One with many hashes: a list of them shall not push the reason off the screen.
    before, name, after = lock.read_text().partition("\nwebsockets==")
    lock.write_text(before + name + re.sub(r"sha256:\w{8}", "sha256:00000000", after))
    done = render(tmp_path / "out", template=small, env=without_uv if installer == "pip" else {})
    assert done.returncode == 0
    assert re.search("hash mismatch|do not match the hashes", done.stdout, re.IGNORECASE)
    assert done.stdout.endswith(UNVERIFIED)
    assert not (done.project / ".venv").exists()


@pytest.mark.parametrize(
    "extra",
    [{"UV_OFFLINE": "1", "UV_NO_CACHE": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
    ids=["offline", "ASCII"],
)
def test_an_odd_machine_is_no_fault_of_the_template(
    extra: dict, small: Path, tmp_path: Path
) -> None:
    """Told to stay offline, or with a terminal that knows ASCII only, it keeps the project."""
    done = render(tmp_path / "out", template=small, env=extra)
    assert done.returncode == 0, done.stdout
    assert (done.project / "manage.py").exists()
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    "fault",
    [
        "raise MemoryError",
        "import os, signal; os.killpg(0, signal.SIGKILL)",
    ],
)
def test_a_fault_of_the_machine_leaves_the_project_unverified(
    fault: str, small: Path, tmp_path: Path
) -> None:
    """A full disk or a lack of memory during the tests deletes nobody's project."""
    write_test(small, f"def test_nothing():\n    {fault}\n")
    done = render(tmp_path / "out", template=small)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(UNVERIFIED)
    assert (done.project / "manage.py").exists()


def test_a_full_disk_leaves_the_project_unverified(small: Path, tmp_path: Path) -> None:
    """Where there is room for the project only, it is kept, and the last line says what to do."""
    disk = tmp_path / "disk"
    disk.mkdir()
    env = environment(tmp_path)
    rendering = f"{TOOLS}/cookiecutter {small} --no-input --output-dir {disk}"
    mounted = f"mount -t tmpfs -o size=8m tmpfs {disk} && {rendering}"
    done = run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{mounted} && ls -A {disk}/*"],
        env=env,
    )
    assert done.returncode == 0, done.stdout
    assert "No space left on device" in done.stdout
    said, _, kept = done.stdout.partition(UNVERIFIED)
    assert "Traceback" not in said
    assert "manage.py" in kept.splitlines()
    assert ".venv" not in kept.splitlines()


def test_the_callers_environment_does_not_reach_the_verification(
    small: Path, tmp_path: Path
) -> None:
    """No setting, module or database of the caller's is used, least of all migrated."""
    precious = tmp_path / "precious.sqlite3"
    sqlite3.connect(precious).close()
    (tmp_path / "pytest.py").write_text("raise SystemExit('not this one')")
    write_test(
        small, "import os\n\n\ndef test_nothing():\n    assert 'EMAIL_URL' not in os.environ\n"
    )
    hostile = {
        "ALLOWED_HOSTS": "",
        "DATABASE_URL": f"sqlite:///{precious}",
        "DEBUG": "nonsense",
        "DJANGO_SETTINGS_MODULE": "missing",
        "EMAIL_URL": "smtp://127.0.0.1:9",
        "ENV_FILE": str(tmp_path / "missing"),
        "GIT_DIR": str(tmp_path / "missing"),
        "HTTPS": "false",
        "PYTEST_ADDOPTS": "--collect-only",
        "PYTHONPATH": str(tmp_path),
        "REALTIME_TICK_SECONDS": "nonsense",
        "REDIS_URL": "redis://127.0.0.1:9",
        "SECRET_KEY": "short",
        "VIRTUAL_ENV": str(tmp_path / "missing"),
    }
    # PYTHONPATH would hit Cookiecutter itself too: only the hook's children may not see it.
    done = render(tmp_path / "out", template=small, env=hostile)
    assert done.returncode == 0, done.stdout
    assert "tests: 1 passed" in done.stdout
    assert precious.stat().st_size == 0
    assert (done.project / ".git").is_dir()


def test_a_missing_python_is_replaced_by_a_supported_one(small: Path, tmp_path: Path) -> None:
    """Where the chosen Python is missing, another verifies the project, and the line says so."""
    offer_python(small, "3.99")
    done = render(tmp_path / "out", template=small, python_version="3.99")
    assert done.returncode == 0, done.stdout
    assert re.search(r"on Python 3\.1\d, for want of 3\.99", done.stdout)


def test_without_any_python_the_project_stays_unverified(
    small: Path, tmp_path: Path, without_uv: dict
) -> None:
    """A machine without a supported Python keeps the project and is told how to verify it."""
    offer_python(small, "3.99")
    installation = project_of(small) / "backend" / "installation.py"
    installation.write_text(
        re.sub(r"SUPPORTED = .*", 'SUPPORTED = ("3.98", "3.99")', installation.read_text())
    )
    done = render(tmp_path / "out", template=small, env=without_uv, python_version="3.99")
    assert done.returncode == 0
    assert "Not installed: Python 3.98 or 3.99 is needed" in done.stdout
    assert done.stdout.endswith(UNVERIFIED)
