"""Lock the requirements of the template and of the rendered project, for every `database`.

    python scripts/lock.py          # takes the newest versions that the .in files allow
    python scripts/lock.py --check  # says whether the locks are what the .in files ask for

The project's locks are compiled once for each database and merged: lines that only one of them has
stand in a Jinja block. Either way, each locked package must have a wheel for every Python and
platform that the README names.
"""

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from cookiecutter.environment import StrictEnvironment

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
LOCKS = ("requirements", "requirements-dev")
# The second one keeps the versions of the first.
DATABASES = ("postgresql", "sqlite")

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# What uv calls it -> what the README calls it.
PLATFORMS = {
    "x86_64-unknown-linux-gnu": "Linux x86-64",  # glibc 2.28 or later
    "aarch64-unknown-linux-gnu": "Linux aarch64",
    "aarch64-apple-darwin": "macOS arm64",  # 13 or later
    "x86_64-apple-darwin": "macOS x86-64",
    "x86_64-pc-windows-msvc": "Windows x86-64",
}
# Package without a wheel -> where that is so, and why it may be.
EXCEPTIONS: dict[str, tuple[str, str]] = {}


def main() -> None:
    """Lock and say what changed, or check; end with status 1 where a lock cannot be used."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    uv = shutil.which("uv") or sys.exit("uv is not installed: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        new = {ROOT / "requirements.txt": compile_template(uv, Path(folder), keep=check)}
        compiled = {
            database: compile_project(uv, Path(folder, database), database, keep=check)
            for database in DATABASES
        }
        for name in LOCKS:
            new[PROJECT / f"{name}.txt"] = merge(
                *(compiled[database][name] for database in DATABASES)
            )
        faults = []
        for path, text in new.items():
            old = path.read_text("utf-8")
            print(f"{path.relative_to(ROOT)}:")
            print("\n".join(changes(old, text) or ["    every version as before"]))
            if not check:
                path.write_text(text, "utf-8")
            elif text != old:
                faults.append(f"{path.relative_to(ROOT)} is not what its .in asks for: `make lock`")
        faults += without_wheels(uv, sorted(Path(folder).rglob("requirements*.txt")))
    if faults:
        sys.exit("\n".join(faults))


def compile_template(uv: str, folder: Path, *, keep: bool) -> str:
    """Return the text of the template's own lock, compiled in `folder`."""
    shutil.copy(ROOT / "requirements.in", folder)
    if keep:
        shutil.copy(ROOT / "requirements.txt", folder)
    return compiled_lock(uv, folder, "requirements")


def compile_project(uv: str, folder: Path, database: str, *, keep: bool) -> dict[str, str]:
    """Return the text of each lock for `database`, compiled in the new `folder`.

    With `keep`, what is locked now stays wherever it may.
    """
    folder.mkdir()
    first = folder.parent / DATABASES[0]
    for name in LOCKS:
        Path(folder, f"{name}.in").write_text(render(PROJECT / f"{name}.in", database), "utf-8")
        if keep:
            Path(folder, f"{name}.txt").write_text(
                render(PROJECT / f"{name}.txt", database), "utf-8"
            )
        elif folder != first:
            shutil.copy(first / f"{name}.txt", folder)
    return {name: compiled_lock(uv, folder, name) for name in LOCKS}


def compiled_lock(uv: str, folder: Path, name: str) -> str:
    """Return a lock compiled in `folder`; one that is there keeps its versions where it may."""
    subprocess.run(
        [
            *(uv, "pip", "compile", f"{name}.in", "--output-file", f"{name}.txt", "--quiet"),
            *("--universal", "--python-version", PYTHONS[0], "--generate-hashes"),
            *("--no-emit-index-url", "--custom-compile-command", "make lock"),
        ],
        cwd=folder,
        check=True,
    )
    return Path(folder, f"{name}.txt").read_text("utf-8")


def render(template: Path, database: str) -> str:
    """Return the text of `template` as Cookiecutter renders it for `database`."""
    environment = StrictEnvironment(context={}, keep_trailing_newline=True)
    source = template.read_text("utf-8")
    return environment.from_string(source).render(cookiecutter={"database": database})


def merge(postgresql: str, sqlite: str) -> str:
    """Return a Jinja template that renders to either text, by whole lines."""
    ours, theirs = postgresql.splitlines(keepends=True), sqlite.splitlines(keepends=True)
    lines: list[str] = []
    for tag, start, end, other_start, other_end in difflib.SequenceMatcher(
        None, ours, theirs, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            lines += ours[start:end]
            continue
        for database, block in (
            ("postgresql", ours[start:end]),
            ("sqlite", theirs[other_start:other_end]),
        ):
            if block:
                condition = f'{{%- if cookiecutter.database == "{database}" %}}\n'
                lines += [condition, *block, "{%- endif %}\n"]
    return "".join(lines)


def packages(lock: str) -> dict[str, str]:
    """Return the lines of a lock by what they lock: `name==version ; marker`."""
    blocks = re.findall(r"^[a-z0-9].*(?:\n[ \t].*)*", lock, re.MULTILINE)
    return {block.partition(" \\\n")[0]: block for block in blocks}


def versions(lock: str) -> dict[str, str]:
    """Return the version of each package, or the versions of one that depends on the machine."""
    found: dict[str, set[str]] = {}
    for requirement in packages(lock):
        name, version = re.match(r"([\w.-]+)\S*==(\S+)", requirement).groups()
        found.setdefault(name, set()).add(version)
    return {name: " or ".join(sorted(those)) for name, those in found.items()}


def changes(old: str, new: str) -> list[str]:
    """Return a line for each package that is new, gone or of another version."""
    before, after = versions(old), versions(new)
    return [
        f"    {name} {before.get(name, 'new')} -> {after.get(name, 'gone')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def without_wheels(uv: str, locks: list[Path]) -> list[str]:
    """Return a sentence for each Python and platform that lacks a wheel of a locked package."""

    def fault(case: tuple[Path, str, str]) -> str | None:
        lock, python, platform = case
        excepted = {name for name, (where, _) in EXCEPTIONS.items() if where == platform}
        wanted = [
            block
            for name, block in packages(lock.read_text("utf-8")).items()
            if re.split(r"[=\[]", name)[0] not in excepted
        ]
        return refusal(uv, "\n".join(wanted), python, platform)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(fault, product(locks, PYTHONS, PLATFORMS))
        return sorted({sentence for sentence in found if sentence})


def refusal(uv: str, lock: str, python: str, platform: str) -> str | None:
    """Return what uv says where it cannot install a lock from wheels alone, or None."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lock.txt")
        path.write_text(lock, "utf-8")
        done = subprocess.run(
            [
                *(uv, "pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--quiet"),
                *("--only-binary", ":all:", "--target", Path(folder, "target")),
                *("--python-platform", platform, "--python-version", python, "-r", path),
            ],
            env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "13.0"},
            capture_output=True,
            text=True,
        )
    if done.returncode == 0:
        return None
    reason = re.search(r"Because (.*?) has no", done.stderr.replace("\n", " "))
    what = f"no wheel of {reason[1]}" if reason else done.stderr.strip()
    return f"Python {python} on {PLATFORMS[platform]}: {what}"


if __name__ == "__main__":
    main()
