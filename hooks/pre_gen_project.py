"""Refuse, in one line each, the answers that no project can be made from.

Runs in the new project's folder before anything is rendered into it, with Cookiecutter's own
Python and nothing but the standard library.
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

# Text of any kind arrives here as data: JSON within a string literal.
ANSWERS = json.loads({{cookiecutter | tojson | tojson}})  # noqa: F821

TEXTS = ("project_name", "project_slug", "description", "author_name")

# Written with a space between, since Cookiecutter renders this file too.
DELIMITERS = [pair.replace(" ", "") for pair in ("{ {", "{ %", "{ #")]

# What these would hide: the project's own packages, and what its pyproject.toml must not be named.
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
    for name in TEXTS:
        refuse_text(name, ANSWERS[name])
    refuse_slug(ANSWERS["project_slug"])
    refuse_losses()


def refuse_text(name: str, text: str) -> None:
    """Refuse what would be rendered again, or would end a line or turn it around unseen."""
    for delimiter in DELIMITERS:
        if delimiter in text:
            refuse(f"{name} {text!a} holds the template delimiter {delimiter}: leave it out.")
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(
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
    sys.exit(f"Refused: {reason}")


main()
