"""The files that belong to one machine."""

import subprocess
import sys
from pathlib import Path

import pytest
from backend import local_files

EXAMPLE = """\
# SECRET_KEY= is filled in
DEBUG=on
SECRET_KEY=
REDIS_PASSWORD=
POSTGRES_PASSWORD=mine
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as it is after cloning."""
    Path(tmp_path, ".env.example").write_text(EXAMPLE, "utf-8")
    Path(tmp_path, "api.http.example").write_text("GET /livez\n# é\n", "utf-8")
    return tmp_path


def test_as_a_script(project: Path):
    """It runs as a script, from any folder and with nothing installed, and says what it wrote."""
    script = Path(project, "backend", "local_files.py")
    script.parent.mkdir()
    script.write_text(Path(local_files.__file__).read_text("utf-8"), "utf-8")

    output = subprocess.check_output([sys.executable, "-I", "-S", script], cwd="/", text=True)

    assert output.split() == ["Wrote", ".env", "Wrote", "api.http"]
