"""The template as its tests see it: its questions, every combination of answers, and rendering."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))
TOOLS = Path(sys.executable).parent
# What tools leave behind in the folders that they look at.
CACHES = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}

TEXTS = [name for name, default in QUESTIONS.items() if isinstance(default, str) and name[0] != "_"]
# Every question with a list of answers, so that a new one is part of every test at once.
OPTIONS = {
    name: default if isinstance(default, list) else [True, False]
    for name, default in QUESTIONS.items()
    if isinstance(default, list | bool) and name != "verify_project"
}
COMBINATIONS = [dict(zip(OPTIONS, answers, strict=True)) for answers in product(*OPTIONS.values())]
# The Python version changes what the project runs on, not what it does.
FUNCTIONAL = [
    combination
    for combination in COMBINATIONS
    if combination["python_version"] == OPTIONS["python_version"][0]
]


def title(combination: dict) -> str:
    """Return a short name: sqlite-use_chat-3.13."""
    parts = [
        name if answer is True else str(answer)
        for name, answer in combination.items()
        if answer is not False
    ]
    return "-".join(parts)


def pythons() -> dict[str, str]:
    """Return the supported Pythons of this machine: version -> executable, newest first."""
    found = {}
    for version in OPTIONS["python_version"]:
        installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        candidates = [*map(str, reversed(installed)), f"python{version}", sys.executable]
        for candidate in candidates:
            command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if shutil.which(candidate) and run(command).stdout.strip() == version:
                found[version] = candidate
                break
    return found


def python_with(lock: Path) -> Path:
    """Return a Python that has the requirements of a lock file; it is kept for later runs."""
    version, executable = next(iter(pythons().items()))
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    venv = ROOT / ".cache" / f"venv-{version}-{digest}"
    venv.parent.mkdir(exist_ok=True)
    # The processes of pytest-xdist share it.
    with Path(f"{venv}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (venv / "complete").exists():
            run([TOOLS / "uv", "venv", "--clear", "--python", executable, venv]).check_returncode()
            install = [TOOLS / "uv", "pip", "sync", "--python", venv / "bin/python"]
            run([*install, "--require-hashes", "--compile-bytecode", lock]).check_returncode()
            (venv / "complete").touch()
    return venv / "bin" / "python"


def render(folder: Path, *flags: str, template: Path = ROOT, env: dict | None = None, **answers):
    """Run `cookiecutter` as from a shell, without questions, and return what came of it.

    The result has the rendered project's folder as `project`; `env` adds to the environment, a
    None in it removes. Nothing reaches the home folder of whoever runs the tests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [TOOLS / "python", "-m", "cookiecutter", template, "--no-input"]
    command += ["--output-dir", folder, *flags]
    command += [f"{name}={answer}" for name, answer in answers.items()]
    done = run(command, env=environment(folder, **env or {}))
    slugs = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    done.project = slugs[0] if len(slugs) == 1 else None
    return done


def environment(folder: Path, **changes: str | None) -> dict[str, str]:
    """Return the caller's environment with Cookiecutter's own files in `folder`, and `changes`."""
    config = folder / ".cookiecutter.yaml"
    config.write_text(f"replay_dir: {folder}/.replay\ncookiecutters_dir: {folder}/.templates\n")
    env = os.environ | {
        "COOKIECUTTER_CONFIG": str(config),
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    # The variables of this pytest would confuse that of a rendered project.
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST_")}
    return {name: value for name, value in (env | changes).items() if value is not None}


def run(command: list, **options) -> subprocess.CompletedProcess[str]:
    """Run a command without input; its output and errors come together as `stdout`."""
    return subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        **options,
    )


def files(project: Path) -> set[str]:
    """Return the files of a project, relative to it, without those of git and of the machine."""
    return {
        path.relative_to(project).as_posix()
        for path in project.rglob("*")
        if path.is_file() and not {".git", ".venv", *CACHES} & set(path.parts)
    }
