"""What `backend/installation.py` installs: for the hook, `make install`, and the image."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ..bare import bare
from ..indexes import broken, index, newer, nonsense, without_wheels_of
from ..template import OPTIONS, PROJECT, ROOT, TOOLS, pythons, render, run

PYTHONS = pythons()
NEWEST, PYTHON = next(iter(PYTHONS.items()))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered project with all that any variant installs."""
    folder = tmp_path_factory.mktemp("rendered")
    return render(folder, verify_project=False, database="postgresql").project


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Path:
    """A copy of it, not installed yet."""
    return Path(shutil.copytree(rendered, tmp_path / "project"))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched once is there for all tests, wherever their home is."""
    found = run([TOOLS / "uv", "cache", "dir"]).stdout.strip()
    monkeypatch.setenv("UV_CACHE_DIR", found)


def install(project: Path, env: dict, *options: str) -> subprocess.CompletedProcess[str]:
    """Install as make does."""
    return run(["python3", "backend/installation.py", *options], cwd=project, env=env)


def installed(project: Path) -> set[str]:
    """Return what is in the project's environment: name==version."""
    code = (
        "import importlib.metadata as m, re, json; print(json.dumps(["
        "re.sub(r'[-_.]+', '-', d.metadata['Name']).lower() + '==' + d.version"
        " for d in m.distributions()]))"
    )
    done = run([project / ".venv/bin/python", "-I", "-c", code])
    assert done.returncode == 0, done.stdout
    return set(json.loads(done.stdout))


def locked(project: Path, python: str, name: str = "requirements-dev.txt") -> set[str]:
    """Return what a lock names for a Python on this machine: name==version."""
    code = "import platform; print(platform.python_version())"
    full = run([project / ".venv/bin/python", "-c", code]).stdout.strip()
    markers = {"python_version": python, "python_full_version": full}
    lines = re.findall(r"^[a-z0-9][^\\\n]*", (project / name).read_text(), re.MULTILINE)
    wanted = [Requirement(line.strip()) for line in lines]
    return {
        f"{one.name}{one.specifier}"
        for one in wanted
        if one.marker is None or one.marker.evaluate(markers)
    }


def shorten(project: Path) -> None:
    """Let the lock name uv and one more package only, where it is all the same which."""
    lock = project / "requirements-dev.txt"
    few = re.findall(r"^(?:uv|hiredis)==.*\n(?:[ ].*\n)*", lock.read_text(), re.MULTILINE)
    lock.write_text("".join(few))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("with_uv", [True, False], ids=["uv", "pip"])
def test_exactly_what_is_locked_is_installed(
    python: str, with_uv: bool, project: Path, tmp_path: Path
) -> None:
    """On every Python, with the pip that came with it or with uv: the lock, and nothing else."""
    tools = [PYTHONS[python], *([TOOLS / "uv"] if with_uv else [])]
    done = install(project, bare(tmp_path / "machine", *tools), "--python", python)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(f"the packages of requirements-dev.txt on Python {python}\n")
    assert installed(project) == locked(project, python)
    # Nothing is left to do for make, and its check of all requirements agrees.
    assert run(["make", "--question", ".venv/.installed"], cwd=project).returncode == 0
    checked = run([TOOLS / "uv", "pip", "check", "--python", project / ".venv"])
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("change", "with_uv"), [(newer, False), (broken, True)], ids=["newer, pip", "broken, uv"]
)
def test_what_was_published_later_changes_nothing(
    change: object, with_uv: bool, project: Path, tmp_path: Path
) -> None:
    """An index that has a newer release of everything, whole or broken: none of it is installed."""
    tools = [PYTHON, *([TOOLS / "uv"] if with_uv else [])]
    with index(change) as served:
        env = bare(tmp_path / "machine", *tools) | {"UV_CACHE_DIR": str(tmp_path / "cache")}
        env["UV_DEFAULT_INDEX" if with_uv else "PIP_INDEX_URL"] = f"{served.url}/simple"
        done = install(project, env, "--python", NEWEST)
        asked = {path.strip("/").rpartition("/")[2] for path, _ in served.asked}
    assert done.returncode == 0, done.stdout
    assert installed(project) == locked(project, NEWEST)
    # It was this index that was asked, and it had more to offer.
    assert {"django", "coverage", "redis"} <= asked
    assert served.files


def test_the_package_index_that_pip_knows_is_used(project: Path, tmp_path: Path) -> None:
    """A company's index stands in pip's own files; uv, which pip fetches, is told of it."""
    shorten(project)
    with index(lambda _, page: page) as served:
        env = bare(tmp_path / "machine", PYTHON)
        env = {name: value for name, value in env.items() if name[:4] not in ("PIP_", "UV_D")}
        env["UV_CACHE_DIR"] = str(tmp_path / "cache")
        conf = tmp_path / "machine/home/.config/pip/pip.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text(f"[global]\nindex-url = {served.url}/simple\n")
        done = install(project, env, "--python", NEWEST)
    assert done.returncode == 0, done.stdout
    assert {who for _, who in served.asked} == {"pip", "uv"}
    assert ("/simple/hiredis/", "uv") in served.asked


@pytest.mark.parametrize("with_uv", [True, False], ids=["uv", "pip"])
def test_nothing_redirects_an_installation(with_uv: bool, project: Path, tmp_path: Path) -> None:
    """Whatever pip, uv or Python are told by variables and files, the packages go into `.venv`."""
    elsewhere = tmp_path / "elsewhere"
    tools = [PYTHON, *([TOOLS / "uv"] if with_uv else [])]
    env = bare(tmp_path / "machine", *tools) | {
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_CONSTRAINT": str(tmp_path / "missing"),
        "PIP_DRY_RUN": "1",
        "PIP_NO_BINARY": ":all:",
        "PIP_PREFIX": str(elsewhere),
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_ROOT": str(elsewhere),
        "PIP_TARGET": str(elsewhere),
        "PIP_USER": "1",
        "PYTHONHOME": str(elsewhere),
        "PYTHONPATH": str(tmp_path),
        "UV_CONSTRAINT": str(tmp_path / "missing"),
        "UV_EXCLUDE_NEWER": "2001-01-01",
        "UV_NO_BINARY": "1",
        "UV_PROJECT_ENVIRONMENT": str(elsewhere),
        "UV_PYTHON": "3.8",
        "UV_SYSTEM_PYTHON": "1",
        "VIRTUAL_ENV": str(elsewhere),
    }
    # Not the program itself, which make would start without it.
    del env["PYTHONHOME"]
    (tmp_path / "packaging.py").write_text("raise SystemExit('not this one')")
    conf = tmp_path / "machine/home/.config/pip/pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"[global]\nuser = true\n[install]\ntarget = {elsewhere}\n")
    done = install(project, env, "--python", NEWEST)
    assert done.returncode == 0, done.stdout
    assert installed(project) == locked(project, NEWEST)
    assert not elsewhere.exists()
    assert not list((tmp_path / "machine/home").glob(".local/lib/*"))


def test_what_runs_in_production_has_no_tools(project: Path, tmp_path: Path) -> None:
    """Of the lock that the image installs, neither pip nor uv is left behind."""
    env = bare(tmp_path / "machine", PYTHON)
    done = install(project, env, "--python", NEWEST, "--lock", "requirements.txt")
    assert done.returncode == 0, done.stdout
    assert installed(project) == locked(project, NEWEST, "requirements.txt")
    assert not [name for name in installed(project) if re.match("(pip|uv|pytest)==", name)]


def test_this_repository_is_installed_in_the_same_way() -> None:
    """What the tests run in is what requirements.txt locks."""
    found = {path.name for path in TOOLS.iterdir()}
    assert {"cookiecutter", "uv", "pytest"} <= found
    assert "backend/installation.py' --lock requirements.txt" in (ROOT / "Makefile").read_text()


def test_an_environment_follows_its_lock(project: Path, tmp_path: Path) -> None:
    """What a later lock no longer names is removed, what it adds is there, and the Python stays."""
    env = bare(tmp_path / "machine", PYTHON, TOOLS / "uv")
    lock = project / "requirements-dev.txt"
    whole = lock.read_text()
    lock.write_text(re.sub(r"^rich==.*\n(?:[ ].*\n)*", "", whole, flags=re.MULTILINE))
    install(project, env).check_returncode()
    assert not [name for name in installed(project) if name.startswith("rich==")]
    python = (project / ".venv/bin/python").resolve()
    lock.write_text(re.sub(r"^django==.*\n(?:[ ].*\n)*", "", whole, flags=re.MULTILINE))
    install(project, env).check_returncode()
    assert [name for name in installed(project) if name.startswith("rich==")]
    assert not [name for name in installed(project) if name.startswith("django==")]
    assert (project / ".venv/bin/python").resolve() == python


def test_a_python_beside_an_older_one_is_found(project: Path, tmp_path: Path) -> None:
    """`python3` may be 3.10, as on Ubuntu 22.04: make takes 3.12 or 3.11 from beside it."""
    env = bare(tmp_path / "machine", old_python())
    beside = tmp_path / "machine" / "bin" / f"python{NEWEST}"
    beside.symlink_to(PYTHON)
    done = run(["make", "install"], cwd=project, env=env)
    assert done.returncode == 0, done.stdout
    assert installed(project) == locked(project, NEWEST)


def test_without_a_usable_python_nothing_is_left(project: Path, tmp_path: Path) -> None:
    """The last line says what is needed and what is there, and no environment is in the way."""
    # The system's own folders may hold a Python that would do.
    env = bare(tmp_path / "machine", old_python()) | {"PATH": str(tmp_path / "machine" / "bin")}
    done = run([old_python(), "backend/installation.py"], cwd=project, env=env)
    assert done.returncode == 1
    *_, last = done.stdout.splitlines()
    assert last.startswith("Not installed: Python 3.11, 3.12, 3.13 or 3.14 is needed")
    assert "python3 is 3.10" in last
    assert not (project / ".venv").exists()


def test_an_environment_of_a_wrong_python_is_made_anew(project: Path, tmp_path: Path) -> None:
    """One that 3.10 made, or whose Python is gone, is no obstacle."""
    env = bare(tmp_path / "machine", PYTHON, TOOLS / "uv")
    for spoil in (
        lambda: run([old_python(), "-m", "venv", "--without-pip", ".venv"], cwd=project),
        (project / ".venv/bin/python").unlink,
    ):
        spoil()
        done = install(project, env)
        assert done.returncode == 0, done.stdout
        assert installed(project) == locked(project, NEWEST)


def test_a_folder_that_is_no_environment_is_kept(project: Path, tmp_path: Path) -> None:
    """Whatever else is named `.venv` is somebody's own."""
    (project / ".venv").mkdir()
    (project / ".venv/letters").write_text("dear diary")
    done = install(project, bare(tmp_path / "machine", PYTHON, TOOLS / "uv"))
    assert done.returncode == 1
    assert done.stdout.endswith(".venv is no virtual environment: move it away\n")
    assert (project / ".venv/letters").read_text() == "dear diary"


@pytest.mark.parametrize("with_uv", [True, False], ids=["uv", "pip"])
@pytest.mark.parametrize(
    ("change", "extra"),
    [
        (nonsense, {}),
        (without_wheels_of("hiredis"), {"CC": "/bin/false"}),
        (lambda _, page: page, {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1"}),
    ],
    ids=["an index that talks nonsense", "no wheel and no compiler", "told to stay offline"],
)
def test_what_cannot_be_installed_leaves_nothing_half_made(
    change: object, extra: dict, with_uv: bool, project: Path, tmp_path: Path
) -> None:
    """The reason is printed, the last line says that nothing was installed, and so it is."""
    tools = [PYTHON, *([TOOLS / "uv"] if with_uv else [])]
    shorten(project)
    with index(change) as served:
        env = bare(tmp_path / "machine", *tools)
        env |= {"UV_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_CACHE_DIR": "1", **extra}
        # No second source, in which the packages would be found after all.
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
            env.pop(name, None)
        env |= {"PIP_CONFIG_FILE": os.devnull, "UV_DEFAULT_INDEX": f"{served.url}/simple"}
        env["PIP_INDEX_URL"] = env["UV_DEFAULT_INDEX"]
        done = install(project, env, "--python", NEWEST)
    assert done.returncode == 1, done.stdout
    *_, last = done.stdout.splitlines()
    assert re.fullmatch(r"Not installed: `\S+ .*` failed, as said above", last), done.stdout
    assert "Traceback" not in done.stdout.partition("Not installed:")[2]
    assert not (project / ".venv").exists()


def test_an_interrupted_installation_leaves_nothing_half_made(
    project: Path, tmp_path: Path
) -> None:
    """SIGTERM ends it and what it has started, and takes the new environment away."""
    slow = tmp_path / "uv"
    started = tmp_path / "started"
    slow.write_text(
        f"#!/bin/sh\n[ \"$1\" = --version ] && exec echo 'uv 9.9.9'\n"
        f'[ "$1" = venv ] && {{ mkdir -p {project}/.venv/bin; exit 0; }}\n'
        f'[ "$1" = pip ] && {{ echo $$ >{started}; exec sleep 600; }}\nexit 1\n'
    )
    slow.chmod(0o755)
    env = bare(tmp_path / "machine", PYTHON, slow)
    process = subprocess.Popen(
        [PYTHON, "backend/installation.py"],
        cwd=project,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: started.exists() and started.read_text().strip())
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.endswith("Not installed: interrupted\n")
    assert not (project / ".venv").exists()
    until(lambda: not Path(f"/proc/{int(started.read_text())}").exists())


def test_a_full_disk_is_named(project: Path, tmp_path: Path) -> None:
    """Where there is no room, the output says so, and half an environment is not kept."""
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=20m tmpfs {small} && cp -r {project}/. {small} && cd {small}"
        f" && {PYTHON} backend/installation.py; status=$?; ls -A {small}; exit $status"
    )
    env = bare(tmp_path / "machine", PYTHON, TOOLS / "uv")
    done = run(["unshare", "--map-root-user", "--mount", "sh", "-c", script], env=env)
    assert done.returncode == 1, done.stdout
    assert "No space left on device" in done.stdout
    assert "Not installed: " in done.stdout
    assert ".venv" not in done.stdout.split("Not installed: ")[1].splitlines()


def test_a_home_that_cannot_be_written_is_no_obstacle(project: Path, tmp_path: Path) -> None:
    """Containers run as users without a home: what was fetched is just not kept."""
    shorten(project)
    env = bare(tmp_path / "machine", PYTHON, TOOLS / "uv") | {"HOME": "/proc"}
    del env["UV_CACHE_DIR"]
    done = install(project, env)
    assert done.returncode == 0, done.stdout


def test_a_project_that_was_moved_works(project: Path, tmp_path: Path) -> None:
    """The tools of its environment are found where it is now."""
    env = bare(tmp_path / "machine", PYTHON, TOOLS / "uv")
    install(project, env).check_returncode()
    moved = project.rename(tmp_path / "a new place")
    for target in ("lint", "format", "typecheck"):
        done = run(["make", target], cwd=moved, env=env)
        assert done.returncode == 0, done.stdout


def test_the_pythons_are_the_same_everywhere() -> None:
    """What is looked for is what the template offers, in the same order."""
    text = (PROJECT / "backend" / "installation.py").read_text()
    supported = re.search(r"SUPPORTED = \((.*)\)", text)[1]
    assert re.findall(r"[\d.]+", supported) == OPTIONS["python_version"]
    for makefile in (ROOT / "Makefile", PROJECT / "Makefile"):
        tried = re.search(r"some_python = .*for name in (.*);", makefile.read_text())[1]
        assert re.findall(r"python(3\.\d+)", tried) == sorted(
            OPTIONS["python_version"], key=lambda version: -int(version[2:])
        )


def old_python() -> str:
    """Return a Python 3.10, as old as Cookiecutter may run on."""
    found = sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python"))
    return str(found[-1]) if found else shutil.which("python3.10") or pytest.fail("no Python 3.10")


def until(condition: object, seconds: float = 30) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
