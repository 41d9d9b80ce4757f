"""Compile the hash-locked requirements of the rendered project, for every `database`.

Run by `make lock`, it takes the newest versions that the `.in` files allow. The locks are compiled
once for each database and merged: lines that only one of them has stand in a Jinja block.
"""

import difflib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.environment import StrictEnvironment

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
LOCKS = ("requirements", "requirements-dev")
# The second one keeps the versions of the first.
DATABASES = ("postgresql", "sqlite")


def main() -> None:
    """Compile and write the locks."""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("uv is not installed: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        compiled = {
            database: compile_locks(uv, Path(folder, database), database) for database in DATABASES
        }
        for name in LOCKS:
            lock = merge(*(compiled[database][name] for database in DATABASES))
            Path(PROJECT, f"{name}.txt").write_text(lock, "utf-8")


def compile_locks(uv: str, folder: Path, database: str) -> dict[str, str]:
    """Return the text of each lock for `database`, compiled in the new `folder`."""
    folder.mkdir()
    first = folder.parent / DATABASES[0]
    for name in LOCKS:
        source = render(Path(PROJECT, f"{name}.in"), database)
        Path(folder, f"{name}.in").write_text(source, "utf-8")
        if folder != first:
            shutil.copy(first / f"{name}.txt", folder)
    for name in LOCKS:
        subprocess.run(
            [
                *(uv, "pip", "compile", f"{name}.in", "--output-file", f"{name}.txt", "--quiet"),
                *("--universal", "--python-version", "3.11", "--generate-hashes"),
                *("--no-emit-index-url", "--custom-compile-command", "make lock"),
            ],
            cwd=folder,
            check=True,
        )
    return {name: Path(folder, f"{name}.txt").read_text("utf-8") for name in LOCKS}


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


if __name__ == "__main__":
    main()
