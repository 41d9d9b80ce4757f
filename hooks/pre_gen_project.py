"""Refuse, in one line each, the answers that no project can be made from.

Runs in the new project's folder before anything is rendered into it, with Cookiecutter's own
Python and nothing but the standard library.
"""

import difflib
import json
import os
import re
import subprocess
import sys
import unicodedata
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Text of any kind arrives here as data: JSON within a string literal.
ANSWERS = json.loads({{cookiecutter | tojson | tojson}})  # noqa: F821

# Older ones take `use_chat=false` on the command line for true, or lack what the second hook needs.
OLDEST_COOKIECUTTER = (2, 7)

TEXTS = ("project_name", "project_slug", "description", "author_name")
CHOICES = {
    "database": ["sqlite", "postgresql"],
    "use_chat": [True, False],
    "use_nginx": [True, False],
    "python_version": ["3.13", "3.14", "3.12", "3.11"],
    "verify_project": [True, False],
}

# Written with a space between, since Cookiecutter renders this file too.
DELIMITERS = [pair.replace(" ", "") for pair in ("{ {", "{ %", "{ #")]

# Names of packages that the project has or needs.
TAKEN = {"backend", "chat", "realtime", "accounts", "django", "channels", "test"}
RESERVED_ON_WINDOWS = re.compile(r"con|prn|aux|nul|com\d|lpt\d")

# Path that the answers leave out -> the answer that would keep it.
LEFT_OUT = {
    "backend/postgres.py": ("database", "postgresql"),
    "backend/tests/test_postgres.py": ("database", "postgresql"),
    "chat": ("use_chat", True),
    "nginx.conf": ("use_nginx", True),
}


def main() -> None:
    """Name the first unusable answer, if there is one, and end with status 1."""
    refuse_old_cookiecutter()
    refuse_unknown_names(*command_line())
    for name, answers in CHOICES.items():
        # Of a replay file, Cookiecutter takes whatever stands in it. As JSON, 1 is not true.
        if json.dumps(ANSWERS[name]) not in map(json.dumps, answers):
            refuse(f"{name} {ANSWERS[name]!a} must be one of {', '.join(map(written, answers))}.")
    for name in TEXTS:
        refuse_text(name, ANSWERS[name])
    refuse_slug(ANSWERS["project_slug"])
    refuse_losses()


def refuse_old_cookiecutter() -> None:
    """Refuse a Cookiecutter that would misread the answers."""
    try:
        found = version("cookiecutter")
    except PackageNotFoundError:
        return
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < OLDEST_COOKIECUTTER:
        refuse(
            f"this is Cookiecutter {found}; the template needs 2.7 or later:"
            " `pipx upgrade cookiecutter`, or `pip install --upgrade cookiecutter`."
        )


def command_line() -> tuple[list[str], bool]:
    """Return the arguments of Cookiecutter, and whether they are told apart with certainty."""
    try:
        raw = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
        return raw.decode("utf-8", "replace").split("\0"), True
    except OSError:
        pass
    try:
        command = ["ps", "-ww", "-o", "args=", "-p", str(os.getppid())]
        return subprocess.run(command, capture_output=True, text=True).stdout.split(), False
    except OSError:
        return [], False


def refuse_unknown_names(arguments: list[str], certain: bool) -> None:
    """Refuse a name for an answer that no question has: Cookiecutter drops it without a word."""
    if not any(Path(argument).name in ("cookiecutter", "cruft") for argument in arguments):
        return
    names = [match[1] for match in map(re.compile(r"([A-Za-z]\w*)=").match, arguments) if match]
    for argument in arguments:
        if argument.startswith("{"):
            try:
                names += json.loads(argument)
            except ValueError:
                continue
    known = [name for name in ANSWERS if not name.startswith("_")]
    for name in names:
        close = difflib.get_close_matches(name, known, 1)
        if name not in known and (certain or close):
            meant = f" Did you mean {close[0]}?" if close else ""
            refuse(f"{name!a} is no question of this template: it has {', '.join(known)}.{meant}")


def written(answer: object) -> str:
    """Return an answer as it is written on the command line."""
    return answer if isinstance(answer, str) else json.dumps(answer)


def refuse_text(name: str, text: str) -> None:
    """Refuse what would be rendered again, or would end a line or turn it around unseen."""
    if any(unicodedata.category(character) == "Cs" for character in text):
        refuse(
            f"{name} {text!a} is not in the encoding that this terminal claims to have"
            f" ({sys.getfilesystemencoding()}): set LC_ALL=C.UTF-8, and answer again."
        )
    for delimiter in DELIMITERS:
        if delimiter in text:
            refuse(f"{name} {text!a} holds the template delimiter {delimiter}: leave it out.")
    for character in text:
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"} or unicodedata.bidirectional(
            character
        ) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}:
            refuse(
                f"{name} {text!a} holds the control character U+{ord(character):04X}: leave it out."
            )
    if name == "project_name" and not text.strip():
        refuse("project_name is empty: give the project a name.")


def refuse_slug(slug: str) -> None:
    """Refuse a slug that cannot name a folder, a Compose project or a distribution."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", slug):
        refuse(
            f"project_slug {slug!a} must be 1 to 63 lower-case letters, digits, - and _,"
            " with a letter or digit at both ends; such as my-backend."
        )
    module = slug.replace("-", "_")
    if module in TAKEN or module in sys.stdlib_module_names:
        refuse(
            f"project_slug {slug!a} is the name of a Python module that it would shadow:"
            f" choose another, such as {slug}-backend."
        )
    if RESERVED_ON_WINDOWS.fullmatch(slug):
        refuse(
            f"project_slug {slug!a} cannot name a folder on Windows:"
            f" choose another, such as {slug}-backend."
        )


def refuse_losses() -> None:
    """Refuse to render over a project of which the answers would delete a part."""
    for path, (name, answer) in LEFT_OUT.items():
        if ANSWERS[name] != answer and Path(path).exists():
            refuse(
                f"{path} is there, but {name}={json.dumps(ANSWERS[name])} leaves it out:"
                f" move it away, or answer {json.dumps(answer)}."
            )


def refuse(reason: str) -> None:
    """End the generation with one line that says why."""
    sys.exit(f"Refused: {reason}\n(Whatever follows is Cookiecutter's own report of this refusal.)")


main()
