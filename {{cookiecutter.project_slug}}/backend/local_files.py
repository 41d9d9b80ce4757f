"""Writes the files that belong to one machine: `.env` with random secrets, and `api.http`.

Run as `python backend/local_files.py`, before anything is installed. What exists stays as it is.
"""

import os
import re
import secrets
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SECRETS = ("SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD")


def write_missing(project: Path = PROJECT) -> list[str]:
    """Write what is missing in the folder `project` and return the names of the new files."""
    env = Path(project, ".env.example").read_text("utf-8")
    requests = Path(project, "api.http.example").read_text("utf-8")
    new = {".env": with_secrets(env), "api.http": requests}
    return [name for name, text in new.items() if _create(project / name, text)]


def with_secrets(env: str) -> str:
    """Return the text `env` with a random value for each variable that holds a secret."""
    for name in SECRETS:
        # Letters, digits, - and _: nothing that a URL, Compose or a shell would read as its own.
        env = re.sub(f"^{name}=$", f"{name}={secrets.token_urlsafe(50)}", env, flags=re.MULTILINE)
    return env


def _create(path: Path, text: str) -> bool:
    """Write a file that only its owner may read; False where there is one already."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return True


if __name__ == "__main__":
    for name in write_missing():
        print(f"Wrote {name}")
