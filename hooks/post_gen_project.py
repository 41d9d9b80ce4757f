"""Turn what Cookiecutter has just rendered into a verified project, in seven steps.

Runs in the new project's folder, with Cookiecutter's own Python and nothing but the standard
library, rich and PyYAML, which Cookiecutter brings along. `main` tells the story.
"""

import ast
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

# Text of any kind arrives here as data: JSON within a string literal.
ANSWERS = json.loads({{cookiecutter | tojson | tojson}})  # noqa: F821

# Under cruft only the files matter: what it renders to compare is deleted again.
UNDER_CRUFT = "_commit" in ANSWERS and "_output_dir" not in ANSWERS

# Path in the project -> whether the answers keep it.
KEPT = {
    "backend/postgres.py": ANSWERS["database"] == "postgresql",
    "backend/tests/test_postgres.py": ANSWERS["database"] == "postgresql",
    "chat": ANSWERS["use_chat"],
    "nginx.conf": ANSWERS["use_nginx"],
}

PROJECT = Path.cwd()
# Where the project is, and what verifies it.
VERIFY = "make install test"
if not UNDER_CRUFT:
    VERIFY = f"cd {shlex.quote(str(PROJECT))} && {VERIFY}"

CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)
PROGRESS = Progress(
    SpinnerColumn("line"),
    TextColumn("{task.description}", markup=False),
    TimeElapsedColumn(),
    console=CONSOLE,
    transient=True,
    disable=not CONSOLE.is_terminal,
)

# What belongs to the machine or its user and is neither parsed nor verified.
LOCAL = shutil.ignore_patterns(
    *(".git", ".venv", ".env", ".postgres", "*.sqlite3*", "media", "node_modules", "__pycache__")
)

# The caller's variables that reach the verification; any other could be a setting of the project.
PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|LD_LIBRARY_PATH|DYLD_\w+"
    r"|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|USERPROFILE|USERNAME|(LOCAL)?APPDATA"
    r"|PROGRAMDATA|PROCESSOR_\w+|NUMBER_OF_PROCESSORS",
    re.IGNORECASE,
)

# What says that the machine is at fault, and not what was rendered.
MACHINE_FAULTS = re.compile(
    r".*(no space left on device|disk quota exceeded|read-only file system|cannot allocate memory"
    r"|MemoryError|too many open files|can't start new thread).*",
    re.IGNORECASE,
)

# One process for all: Django takes longer to start than to do any of these.
CHECKS = """
import os, subprocess, sys
import django
from django.core.management import call_command

deploy = ["manage.py", "check", "--deploy", "--fail-level", "WARNING"]
production = dict(DEBUG="False", ALLOWED_HOSTS="example.com", SECRET_KEY=sys.argv[1])
deployed = subprocess.Popen([sys.executable, *deploy], env=os.environ | production)
os.environ["DJANGO_SETTINGS_MODULE"] = "backend.settings"
django.setup()
for name, options in (
    ("check", dict(fail_level="WARNING")),
    ("makemigrations", dict(check_changes=True, dry_run=True, interactive=False)),
    ("spectacular", dict(file=os.devnull, validate=True, fail_on_warn=True)),
    ("migrate", dict(interactive=False, verbosity=0)),
):
    print("$ manage.py", name, flush=True)
    call_command(name, **options)
if deployed.wait():
    sys.exit("$ " + " ".join(deploy))
"""


class Failed(Exception):
    """The template is at fault: what it rendered is wrong."""


class Unverified(Exception):
    """The machine is at fault, or nobody asked: what was rendered has not been tried."""


def main() -> None:
    """Finish the project, or say what stopped that, and end with its status."""
    # A terminal may lack the signs that a path consists of.
    sys.stdout.reconfigure(errors="backslashreplace")
    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal)):
        signal.signal(getattr(signal, name), interrupted)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    try:
        with PROGRESS:
            finish()
    except KeyboardInterrupt:
        pass  # Cookiecutter is interrupted as well, and keeps the project.
    except (Unverified, OSError) as reason:
        CONSOLE.print(f"{reason}: the project is there, but unverified; `{VERIFY}` verifies it.")
    except Failed as failure:
        CONSOLE.print(
            f"Failed: {failure}. Cookiecutter deletes a new project that fails, unless it is told"
            " --keep-project-on-failure; whatever follows is its own report of this failure."
        )
        sys.exit(1)


def finish() -> None:
    """Take the seven steps; each ends as one line on the terminal."""
    take(1, "pruning", prune).tell()
    if not UNDER_CRUFT:
        take(2, "writing secrets", write_local_files).tell()
    take(3, "parsing every file", parse_files).tell()
    if UNDER_CRUFT or not ANSWERS["verify_project"]:
        raise Unverified("Nothing was installed")

    with (
        tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True) as scratch,
        ThreadPoolExecutor(2) as threads,
    ):
        venv = Path(scratch if Path(".venv").exists() else PROJECT, ".venv")
        take(4, "installing", partial(install, venv)).tell()
        copy = Path(shutil.copytree(PROJECT, Path(scratch, "project"), ignore=LOCAL))
        python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        try:
            # Beside each other; what the checks find explains what the tests trip over.
            checks = threads.submit(take, 5, "checking", partial(check, python, copy))
            tests = threads.submit(take, 6, "testing", partial(test, python, copy))
            checks.result().tell()
            tests.result().tell()
        except BaseException:
            stop()
            raise
    folder = shlex.quote(str(PROJECT))
    CONSOLE.print(f"7  ready: cd {folder} && make run   (`make help` lists the rest)")


def prune(step: "Step") -> str:
    """Delete what the answers leave out."""
    left_out = [path for path, kept in KEPT.items() if not kept]
    for path in map(Path, left_out):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return f"left out {', '.join(left_out) or 'nothing'}"


def write_local_files(step: "Step") -> str:
    """Write `.env`, with secrets made here, and `api.http` where they are missing; `git init`."""
    missing = [name for name in (".env", "api.http") if not Path(name).exists()]
    step.run([sys.executable, "backend/local_files.py"], PROJECT, environment())
    written = f"wrote {' and '.join(missing)}" if missing else "kept .env and api.http"
    return f"{written}, {start_repository()}"


def start_repository() -> str:
    """Run `git init`, unless the folder belongs to a repository already."""
    if Path(".git").exists():
        return "kept .git"
    if not shutil.which("git"):
        return "git is not installed"
    if git("rev-parse", "--is-inside-work-tree") and not git("check-ignore", "."):
        return "part of the git repository around it"
    # The project's CI runs on pushes to main; before git 2.28 the name cannot be given.
    done = git("init", "--initial-branch", "main") or git("init")
    return "git init" if done else "git init did not work"


def git(*arguments: str) -> bool:
    """Whether git takes these arguments without complaint."""
    done = subprocess.run(["git", *arguments], env=environment(), capture_output=True)
    return done.returncode == 0


def parse_files(step: "Step") -> str:
    """Parse every file of a known format, and look for template markers that survived."""
    parsers = {".json": json.loads, ".yaml": compose_yaml, ".yml": compose_yaml}
    if sys.version_info >= (3, 11):  # Cookiecutter may run on a Python that knows less.
        import tomllib

        parsers |= {".py": ast.parse, ".toml": tomllib.loads}
    count = 0
    for folder, folders, names in os.walk(PROJECT):
        ignored = LOCAL(folder, [*folders, *names])
        folders[:] = set(folders) - ignored
        for path in (Path(folder, name) for name in set(names) - ignored):
            content = path.read_bytes()
            if b"\0" in content:
                continue
            try:
                text = content.decode("utf-8")
                if re.search(r"[{][#%{][^{}]*\bcookiecutter\.", text):
                    raise ValueError("a template marker is left in it")
                parsers.get(path.suffix, str)(text)
            except (ValueError, SyntaxError, yaml.YAMLError) as error:
                raise Failed(f"{path.relative_to(PROJECT)} does not parse: {error}") from error
            count += 1
    return f"{count} files parse"


def compose_yaml(text: str) -> list:
    """Parse every document of a YAML file, whatever tags it uses."""
    return list(yaml.compose_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def install(venv: Path, step: "Step") -> str:
    """Put the locked packages into the new environment `venv`."""
    command = [sys.executable, "backend/installation.py", "--python", ANSWERS["python_version"]]
    try:
        # With the caller's variables, which say where packages are: it knows which to ignore.
        output = step.run([*command, "--venv", str(venv)], PROJECT, dict(os.environ))
    except Failed as failure:
        # Locks are tried before they are published; this machine or its package index is not.
        raise Unverified(f"{failure}; the output above says why") from failure
    return output.strip().splitlines()[-1]


def check(python: Path, copy: Path, step: "Step") -> str:
    """Run Django's checks, the deployment's too, and the migrations on a throwaway database."""
    step.run([sys.executable, "backend/local_files.py"], copy, environment())
    run_django(step, python, copy, "-c", CHECKS, secrets.token_urlsafe(48))
    return "check, check --deploy, makemigrations, OpenAPI, migrate"


def test(python: Path, copy: Path, step: "Step") -> str:
    """Run the project's own tests."""
    output = run_django(step, python, copy, "-m", "pytest", "--numprocesses", "auto")
    count = re.search(r"\d+ passed", output)
    if not count:
        raise Failed("pytest ran no test")
    return f"tests: {count[0]}"


def run_django(step: "Step", python: Path, copy: Path, *arguments: str) -> str:
    """Run Python in the copy, without the caller's settings and on a database of the copy's own."""
    command = [str(python), *arguments]
    temporary = copy.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    env = environment(REDIS_URL="", **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)))
    if ANSWERS["database"] == "postgresql":
        # Empty, so that `backend.postgres` starts the server that it brings along.
        env["DATABASE_URL"] = ""
        command = [str(python), "-m", "backend.postgres", *command]
    else:
        env["DATABASE_URL"] = "sqlite:///verify.sqlite3"
    return step.run(command, copy, env)


def environment(**extra: str) -> dict[str, str]:
    """The caller's environment without anything that could be a setting of some project."""
    passed_on = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    # Unbuffered, so that a step shows what its command says while it runs.
    return passed_on | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"} | extra


class Step:
    """One line on the terminal: what is being done and for how long, then what was done."""

    def __init__(self, number: int, doing: str) -> None:
        self.number, self.doing, self.done = number, doing, ""
        self.started = time.monotonic()
        self.seconds = 0.0
        self.task = PROGRESS.add_task(doing, total=None)

    def tell(self) -> None:
        """Print the line."""
        CONSOLE.print(f"{self.number}  {self.done:<62} {self.seconds:6.1f} s")

    def run(self, command: list[str], folder: Path, env: dict[str, str]) -> str:
        """Run a command to its end, show its output as it comes, and return it."""
        output = []
        with subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # `stop` ends it, with all that it has started
        ) as process:
            RUNNING.append(process)
            for text in process.stdout:
                output.append(text)
                self.show(text.strip())
        RUNNING.remove(process)
        if process.returncode:
            raise self.failure(process.returncode, "".join(output))
        return "".join(output)

    def show(self, text: str) -> None:
        """Show the latest line of a command's output beside what is being done."""
        if text:
            shown = f"{self.doing}: {text}"[: max(CONSOLE.width - 20, 20)]
            PROGRESS.update(self.task, description=shown)

    def failure(self, status: int, output: str) -> Exception:
        """Print why a command failed, unless it was stopped, and return the exception to raise."""
        if STOPPING.is_set():
            return Failed(f"{self.doing} was stopped")
        CONSOLE.print(tail(output))
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"{PROJECT.name}-", suffix=".log", encoding="utf-8", delete=False
        ) as log:
            log.write(output)
        where = f"the whole output is in {log.name}"
        if fault := MACHINE_FAULTS.search(output):
            return Unverified(f"{fault[0].strip()[:200]} ({where})")
        if status == -9:
            return Unverified(f"{self.doing} was killed, as for want of memory ({where})")
        return Failed(f"{self.doing} ended with status {status} ({where})")


def take(number: int, doing: str, work: Callable[[Step], str]) -> Step:
    """Take a step, and return it with what was done."""
    step = Step(number, doing)
    try:
        step.done = work(step)
    finally:
        step.seconds = time.monotonic() - step.started
        PROGRESS.remove_task(step.task)
    return step


def tail(output: str, lines: int = 60) -> str:
    """The end of an output, where the reason stands: not behind 150 hashes of one package."""
    text = re.sub(r"\n[ \w]*[ :][0-9a-f]{64}(?=\n)", "", output)
    return "\n".join(text.splitlines()[-lines:])


# The commands that run, of whichever step, and whether they are being ended.
RUNNING: list[subprocess.Popen] = []
STOPPING = threading.Event()


def stop() -> None:
    """End the commands that run. Each has ten seconds to tidy up after itself."""
    STOPPING.set()
    processes = list(RUNNING)
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        if os.name == "posix":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def end_with(parent: int) -> None:
    """End when Cookiecutter does, whatever ended it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def interrupted(*_: object) -> None:
    """Say at once how things stand: Cookiecutter itself ends a moment after Ctrl-C."""
    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal)):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    CONSOLE.print(f"Interrupted: the project is there, but unverified; `{VERIFY}` verifies it.")
    raise KeyboardInterrupt


main()
