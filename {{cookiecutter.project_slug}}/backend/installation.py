"""Makes the virtual environment, with exactly the packages that a lock names.

    python backend/installation.py [--python 3.13] [--lock requirements-dev.txt] [--venv .venv]

Any Python from 3.9 on may run it, before anything is installed: it looks for the one to use. A lock
is complete and is installed as it stands. No resolver is at work, so nothing that was published
since the lock was made can change what is installed. uv does the work: the one on PATH, else the
locked one, which pip puts into the new environment first.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import signal
import subprocess  # nosec B404: it runs Python, pip and uv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).resolve().parent.parent

# The likeliest to serve well first, for machines that lack the chosen one.
SUPPORTED = ("3.13", "3.14", "3.12", "3.11")
# pip's settings that say where packages are -> the variable and the separator that uv has for it.
PIP_SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "retries": ("UV_HTTP_RETRIES", " "),
}
# Of the caller's variables, those that could redirect what is installed are withheld.
WITHHELD = re.compile(r"(PIP|PYTHON|UV|CONDA)_?.*|VIRTUAL_ENV|__PYVENV_LAUNCHER__")
KEPT = re.compile(
    r"UV_(.*INDEX.*|FIND_LINKS|OFFLINE|(NO_)?CACHE.*|HTTP_.*|REQUEST_TIMEOUT|NATIVE_TLS|SYSTEM_CERTS"
    r"|INSECURE_HOST|KEYRING_PROVIDER|CONFIG_FILE|LINK_MODE|CONCURRENT_.*|PYTHON_(INSTALL|DOWNLOAD).*)"
)
# An older uv, where PATH has one, might not understand the lock.
OLDEST_UV = (0, 5)


class Failed(Exception):
    """What stopped the installation, in a sentence for a person."""


def main(arguments: list[str]) -> None:
    """Install, or say in the last line of the output what stopped it, and end with status 1."""
    parser = argparse.ArgumentParser(prog="installation.py", description=main.__doc__)
    parser.add_argument("--python", default=SUPPORTED[0], help="version to use where it is there")
    parser.add_argument("--lock", type=Path, default=PROJECT / "requirements-dev.txt")
    parser.add_argument("--venv", type=Path, default=PROJECT / ".venv")
    options = parser.parse_args(arguments)
    # `make` shows the lines of all programs in order.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        with tempfile.TemporaryDirectory(prefix="install-") as scratch:
            print(install(options.python, options.lock, options.venv.absolute(), Path(scratch)))
    except Failed as failure:
        sys.exit(f"Not installed: {failure}")
    except OSError as error:
        sys.exit(f"Not installed: {error.filename or options.venv}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("Not installed: interrupted")


def install(chosen: str, lock: Path, venv: Path, scratch: Path) -> str:
    """Make `venv` what `lock` says and return a sentence about it; `scratch` is an empty folder."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    version, base = version_of([str(python)]), str(python)
    index: dict[str, str] = {}
    uv = uv_on_path(venv, scratch)
    new = version not in SUPPORTED
    if new:
        remove(venv)
        version, base = find_python(chosen, uv)
    if not uv:
        uv, index = locked_uv(base, lock, scratch)
    env = environment() | index
    try:
        if new:
            # Relocatable: its scripts also work where the project is moved to.
            options = ["--quiet", "--no-project", "--relocatable", "--python", base]
            run([uv, "venv", *options, str(venv)], env)
        # Installs what the lock names, and removes what it does not.
        options = ["--require-hashes", "--python", str(python), str(lock)]
        run([uv, "pip", "sync", *options], env)
    except BaseException:
        # Half of an environment would look like a whole one.
        if new:
            shutil.rmtree(venv, ignore_errors=True)
        raise
    # What `make` compares with the locks.
    Path(venv, ".installed").touch()
    instead = f", for want of {chosen}" if new and version != chosen else ""
    return f"Installed the packages of {lock.name} on Python {version}{instead}"


def uv_on_path(venv: Path, scratch: Path) -> str | None:
    """Return the uv on PATH, if it works and is not too old."""
    uv = shutil.which("uv")
    found = re.match(r"uv (\d+)\.(\d+)", output([uv, "--version"]) if uv else "")
    if not uv or not found or (int(found[1]), int(found[2])) < OLDEST_UV:
        return None
    # In the environment itself, where it is active, it would replace or remove itself.
    return str(shutil.copy2(uv, scratch)) if venv in Path(uv).parents else uv


def remove(venv: Path) -> None:
    """Delete an environment that cannot be used, but nothing that is none."""
    if venv.is_dir() and any(venv.iterdir()) and not Path(venv, "pyvenv.cfg").exists():
        raise Failed(f"{venv} is no virtual environment: move it away")
    if venv.is_dir() and not venv.is_symlink():
        shutil.rmtree(venv)
    elif venv.is_symlink() or venv.exists():
        venv.unlink()


def find_python(chosen: str, uv: str | None) -> tuple[str, str]:
    """Return version and path of the chosen Python, else of another supported one.

    Raises:
        Failed: none is on this machine, and no uv that could fetch one.
    """
    needs = "ssl, sqlite3" if uv else "ssl, sqlite3, ensurepip"
    passed_over = []
    for version in dict.fromkeys((chosen, *SUPPORTED)):
        for command in candidates(version, uv):
            found = version_of(command)
            # `sys._base_executable`: of a virtual environment, the Python that it was made with.
            probe = f"import {needs}, sys; print(getattr(sys, '_base_executable', sys.executable))"
            executable = output([*command, "-c", probe]) if found == version else ""
            if executable:
                return version, executable
            if found:
                lacks = f", but lacks one of {needs}" if found == version else ""
                passed_over.append(f"{' '.join(command)} is {found}{lacks}")
    if uv:
        print(f"No Python {chosen} is on this machine: uv fetches it", flush=True)
        return chosen, chosen
    *versions, last = sorted(SUPPORTED)
    raise Failed(
        f"Python {', '.join(versions)} or {last} is needed, with the modules {needs}; "
        f"here {', '.join(dict.fromkeys(passed_over)) or 'is none'}. "
        "Install one of them (its package python3-venv too, on Debian and Ubuntu), "
        "or uv, which fetches one"
    )


def candidates(version: str, uv: str | None) -> Iterator[list[str]]:
    """Yield commands that may start this Python, the likeliest first."""
    if uv:
        found = output([uv, "python", "find", "--no-project", "--system", version])
        yield from ([path] for path in found.splitlines())
    pyenv = Path(os.environ.get("PYENV_ROOT") or home() / ".pyenv")
    for place in ("versions/{}.*/bin/python", "pyenv-win/versions/{}.*/python.exe"):
        # Of several patch releases the newest: 3.12.10 comes after 3.12.9.
        paths = sorted(pyenv.glob(place.format(version)), key=lambda path: numbers(str(path)))
        yield from ([str(path)] for path in reversed(paths))
    yield from ([name] for name in (f"python{version}", "python3", "python", sys.executable))
    if os.name == "nt":
        yield ["py", f"-{version}"]


def numbers(text: str) -> list[int]:
    """Return the numbers in a text, to sort by."""
    return [int(number) for number in re.findall(r"\d+", text)]


def version_of(command: list[str]) -> str:
    """Return major and minor version of the Python that a command starts, "" where it is none.

    "" too for what has no wheels: PyPy, 32 bits, and CPython without its lock.
    """
    probe = (
        "import sys, sysconfig; "
        "fits = sys.implementation.name == 'cpython' and sys.maxsize > 2**32; "
        "free = sysconfig.get_config_var('Py_GIL_DISABLED'); "
        "print('%d.%d' % sys.version_info[:2] if fits and not free else '')"
    )
    return output([*command, "-c", probe])


def locked_uv(python: str, lock: Path, scratch: Path) -> tuple[str, dict[str, str]]:
    """Let pip fetch the locked uv; return its path and what pip knows of the package index.

    pip installs one wheel with a known hash: nothing that a pip of any age could decide.
    """
    locked = re.compile(r"^uv==(?:.*\\\n)*.*", re.MULTILINE)
    # Where the lock is of what runs in production, the one beside it has uv.
    for path in (lock, lock.parent / "requirements-dev.txt"):
        if found := locked.search(path.read_text("utf-8")):
            break
    else:
        raise Failed("no uv is on PATH, and no lock names one: install uv")
    requirement = scratch / "uv.txt"
    requirement.write_text(f"{found[0]}\n", "utf-8")
    tools = scratch / "tools"
    run([python, "-m", "venv", str(tools)], environment())
    folder = tools / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(folder / "python"), "-m", "pip", "--disable-pip-version-check"]
    settings = pip_settings(pip)
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    run(
        [*pip, "install", *options, "--requirement", str(requirement)],
        # Its files could say where to install as well.
        environment()
        | {f"PIP_{name.upper().replace('-', '_')}": value for name, value in settings.items()}
        | {"PIP_CONFIG_FILE": os.devnull},
    )
    index = {
        variable: separator.join(settings[name].split())
        for name, (variable, separator) in PIP_SETTINGS.items()
        if name in settings
    }
    # As pip does: any index may have the file, which its hash identifies.
    return str(folder / "uv"), index | {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def pip_settings(pip: list[str]) -> dict[str, str]:
    """Return what pip's files and variables say about where packages are."""
    lines = output([*pip, "config", "list"], dict(os.environ)).splitlines()
    found = {}
    # `:env:.index-url='…'` outranks `install.index-url='…'`, and that `global.index-url='…'`.
    for section in ("global", "install", ":env:"):
        for line in lines:
            name, _, value = line.partition("=")
            if name.startswith(f"{section}.") and name[len(section) + 1 :] in PIP_SETTINGS:
                found[name[len(section) + 1 :]] = str(ast.literal_eval(value))
    return found


def environment() -> dict[str, str]:
    """Return the caller's variables without those that could redirect what is installed."""
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if KEPT.fullmatch(name) or not WITHHELD.fullmatch(name)
    }
    if "UV_CACHE_DIR" not in passed_on and not make_cache_folder():
        passed_on["UV_NO_CACHE"] = "1"
    return passed_on | {"PYTHONUTF8": "1"}


def home() -> Path:
    """Return the caller's home; users of containers may have none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.sep)


def make_cache_folder() -> bool:
    """Make the folder of uv's cache in the home; False where it cannot be written to."""
    cache = home() / ".cache"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(cache, os.W_OK)


def run(command: list[str], env: dict[str, str]) -> None:
    """Run a command, whose output a person sees as it comes."""
    if subprocess.run(command, env=env, check=False).returncode:  # nosec B603: our own arguments
        raise Failed(f"`{Path(command[0]).name} {' '.join(command[1:4])}` failed, as said above")


def output(command: list[str], env: dict[str, str] | None = None) -> str:
    """Return what a command prints, "" where it does not work."""
    env = (env or environment()) | {"UV_PYTHON_DOWNLOADS": "never"}
    try:
        done = subprocess.run(  # nosec B603: the same
            command, env=env, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def ended(*_: object) -> NoReturn:
    """End as after Ctrl-C, so that nothing half-made is left."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, ended)
    main(sys.argv[1:])
