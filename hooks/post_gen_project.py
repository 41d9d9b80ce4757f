"""Turn what Cookiecutter has just rendered into a verified project, in seven steps.

Runs in the new project's folder, with Cookiecutter's own Python and nothing but the standard
library, rich and PyYAML, which Cookiecutter brings along. `main` tells the story.
"""

import ast
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

# Text of any kind arrives here as data: JSON within a string literal.
ANSWERS = json.loads({{cookiecutter | tojson | tojson}})  # noqa: F821

# Cruft renders into temporary folders to compare them: only the files themselves matter there.
UNDER_CRUFT = "_commit" in ANSWERS and "_output_dir" not in ANSWERS

# Path in the project -> whether the answers keep it.
KEPT = {
    "backend/postgres.py": ANSWERS["database"] == "postgresql",
    "backend/tests/test_postgres.py": ANSWERS["database"] == "postgresql",
    "chat": ANSWERS["use_chat"],
    "nginx.conf": ANSWERS["use_nginx"],
}

SUPPORTED_PYTHONS = ("3.13", "3.12", "3.11")
VERIFY = "make install test"

PROJECT = Path.cwd()
LOG = Path(tempfile.mkstemp(prefix=f"{PROJECT.name}-", suffix=".log")[1])
CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)

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

# Installing needs the caller's proxies, certificates and package index, but none of these.
WITHHELD = re.compile(r"PYTHON.*|VIRTUAL_ENV|CONDA_PREFIX|PIP_(USER|TARGET|PREFIX)")

TEMPLATE_FAULTS = re.compile(r"hash mismatch|do not match the hashes|require-hashes", re.IGNORECASE)
MACHINE_FAULTS = re.compile(
    r".*(error sending request|dns error|client error \(connect\)|name resolution|timed? ?out"
    r"|failed to (resolve|establish)|connection (refused|reset|aborted|broken)|max retries exceeded"
    r"|network (is )?unreachable|proxyerror|cannot connect to proxy|certificate"
    r"|status (client|server) error \((401|403|407|429|5\d\d)"
    r"|\b(401|403|407|429|5\d\d) (client|server) error"
    r"|no space left on device|read-only file system).*",
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
    signal.signal(signal.SIGINT, interrupted)
    try:
        finish()
    except KeyboardInterrupt:
        pass  # Cookiecutter is interrupted as well, and keeps the project.
    except Unverified as reason:
        CONSOLE.print(f"{reason}: the project is there, but unverified; `{VERIFY}` verifies it.")
    except Failed as failure:
        CONSOLE.print(f"{tail(60)}\nFailed: {failure}. The whole output is in {LOG}")
        CONSOLE.print(
            "Cookiecutter deletes a new project that fails; --keep-project-on-failure keeps it."
        )
        sys.exit(1)
    LOG.unlink()


def finish() -> None:
    """Take the seven steps; each ends as one line on the terminal."""
    with Step(1, "pruning") as step:
        step.done = prune()
    if not UNDER_CRUFT:
        with Step(2, "writing secrets") as step:
            step.done = f"{write_local_files(step)}, {start_repository()}"
    with Step(3, "parsing every file") as step:
        step.done = parse_files()
    if UNDER_CRUFT or not ANSWERS["verify_project"]:
        raise Unverified("Nothing was installed")

    with tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True) as scratch:
        with Step(4, "installing") as step:
            python = install(step, Path(scratch))
        with Step(5, "checking") as step:
            copy = Path(shutil.copytree(PROJECT, Path(scratch, "project"), ignore=LOCAL))
            check(step, python, copy)
        with Step(6, "testing") as step:
            test(step, python, copy)
    CONSOLE.print(f"7  ready: cd {PROJECT} && make run   (`make help` lists the rest)")


def prune() -> str:
    """Delete what the answers leave out."""
    left_out = [path for path, kept in KEPT.items() if not kept]
    for path in map(Path, left_out):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return f"left out {', '.join(left_out) or 'nothing'}"


def write_local_files(step: "Step") -> str:
    """Write `.env`, with secrets made here, and `api.http` where they are missing."""
    missing = [name for name in (".env", "api.http") if not Path(name).exists()]
    step.run([sys.executable, "backend/local_files.py"], PROJECT, environment())
    return f"wrote {' and '.join(missing)}" if missing else "kept .env and api.http"


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


def parse_files() -> str:
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


def install(step: "Step", scratch: Path) -> Path:
    """Put the locked requirements into a new `.venv`, in `scratch` where the project has one."""
    uv = shutil.which("uv")
    base, version = find_python(uv)
    venv = (scratch if Path(".venv").exists() else PROJECT) / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if uv:
        make = [uv, "venv", "--no-project", "--python", base, str(venv)]
        fill = [uv, "pip", "install", "--python", str(python)]
    else:
        make = [base, "-m", "venv", str(venv)]
        fill = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    env = {name: value for name, value in os.environ.items() if not WITHHELD.fullmatch(name)}
    try:
        step.run(make, PROJECT, env)
        step.run([*fill, "--require-hashes", "-r", "requirements-dev.txt"], PROJECT, env)
        Path(venv, ".installed").touch()  # So `make install` knows.
    except BaseException as error:
        shutil.rmtree(venv, ignore_errors=True)
        output = LOG.read_text(encoding="utf-8")
        fault = MACHINE_FAULTS.search(output)
        if isinstance(error, Failed) and fault and not TEMPLATE_FAULTS.search(output):
            raise Unverified(f"{fault[0].strip()[:200]}\nThe packages did not come") from error
        raise
    chosen = ANSWERS["python_version"]
    instead = "" if version == chosen else f", for want of {chosen}"
    step.done = f"installed with {'uv' if uv else 'pip'} on Python {version}{instead}"
    return python


def find_python(uv: str | None) -> tuple[str, str]:
    """The chosen Python where uv, pyenv or PATH has it, else the newest supported one."""
    needs = "ssl, sqlite3" if uv else "ssl, sqlite3, ensurepip"
    probe = f"import sys, {needs}; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for version in dict.fromkeys((ANSWERS["python_version"], *SUPPORTED_PYTHONS)):
        for command in interpreters(version, uv):
            found, _, executable = printed([*command, "-c", probe]).partition(" ")
            if found == version:
                return executable, version
    raise Unverified(f"No Python {', '.join(SUPPORTED_PYTHONS)} with {needs} on this machine")


def interpreters(version: str, uv: str | None) -> Iterator[list[str]]:
    """Commands that may start this Python, the likeliest first."""
    if uv and (found := printed([uv, "python", "find", "--no-project", "--system", version])):
        yield [found]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for place in ("versions/{}.*/bin/python", "pyenv-win/versions/{}.*/python.exe"):
        yield from ([str(path)] for path in sorted(pyenv.glob(place.format(version)), reverse=True))
    yield from ([name] for name in (f"python{version}", "python3", "python", sys.executable))
    yield ["py", f"-{version}"]


def printed(command: list[str]) -> str:
    """What a command prints, or nothing where it does not work."""
    env = environment(UV_PYTHON_DOWNLOADS="never")
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def check(step: "Step", python: Path, copy: Path) -> None:
    """Run Django's checks, the deployment's too, and the migrations on a throwaway database."""
    step.run([sys.executable, "backend/local_files.py"], copy, environment())
    run_django(step, python, copy, "-c", CHECKS, secrets.token_urlsafe(48))
    step.done = "check, check --deploy, makemigrations, OpenAPI, migrate"


def test(step: "Step", python: Path, copy: Path) -> None:
    """Run the project's own tests."""
    output = run_django(step, python, copy, "-m", "pytest", "--numprocesses", "auto")
    count = re.search(r"\d+ passed", output)
    if not count:
        raise Failed("pytest ran no test")
    step.done = f"tests: {count[0]}"


def run_django(step: "Step", python: Path, copy: Path, *arguments: str) -> str:
    """Run Python in the copy, without the caller's settings and on a database of the copy's own."""
    command = [str(python), *arguments]
    temporary = copy.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    env = environment(REDIS_URL="", **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)))
    if ANSWERS["database"] == "postgresql":
        # Nobody answers there, so `backend.postgres` starts the server that it brings along.
        env["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
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
        self.progress = Progress(
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=CONSOLE,
            transient=True,
            disable=not CONSOLE.is_terminal,
        )
        self.task = self.progress.add_task(doing, total=None)

    def __enter__(self) -> "Step":
        self.progress.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.progress.stop()
        if kind is None:
            seconds = time.monotonic() - self.started
            CONSOLE.print(f"{self.number}  {self.done:<62} {seconds:6.1f} s")

    def run(self, command: list[str], folder: Path, env: dict[str, str]) -> str:
        """Run a command to its end, log and show its output, and give it back."""
        output = []
        with (
            LOG.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            ) as process,
        ):
            try:
                for text in process.stdout:
                    output.append(text)
                    log.write(text)
                    self.show(text.strip())
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            raise Failed(f"{self.doing} ended with status {process.returncode}")
        return "".join(output)

    def show(self, text: str) -> None:
        """Show the latest line of a command's output beside what is being done."""
        if text:
            shown = f"{self.doing}: {text}"[: max(CONSOLE.width - 20, 20)]
            self.progress.update(self.task, description=shown)


def tail(lines: int) -> str:
    """The end of the log, where the reason stands: not hidden behind 150 hashes of one package."""
    text = re.sub(r"\n[ \w]*[ :][0-9a-f]{64}(?=\n)", "", LOG.read_text(encoding="utf-8"))
    return "\n".join(text.splitlines()[-lines:])


def interrupted(*_: object) -> None:
    """Say at once how things stand: Cookiecutter itself ends a moment after Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    CONSOLE.print(f"Interrupted: the project is there, but unverified; `{VERIFY}` verifies it.")
    raise KeyboardInterrupt


main()
