"""What the post-gen hook does when something is in its way.

These render a copy of the template whose project has a single test, so that each can break one
thing and still be done in seconds.
"""

import ast
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import write_test
from .template import OPTIONS, PROJECT, TOOLS, environment, render, run

# Every way out leads to a port where nobody listens, and nothing is in a cache.
NO_NETWORK = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
    "NO_PROXY": "",
    "no_proxy": "",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": None,
    "PIP_NO_CACHE_DIR": "1",
    "PIP_RETRIES": "1",
    "UV_HTTP_RETRIES": "0",
    "UV_NO_CACHE": "1",
}

UNVERIFIED = " && make install test` verifies it.\n"

# A single test covers too little of the code.
VERIFY = ["make", "install", "test", "args=--no-cov"]

# drf-spectacular cannot tell what this answers.
VAGUE_VIEW = """
from rest_framework.views import APIView


class Vague(APIView):
    def get(self, request):
        pass


urlpatterns += [path("api/vague/", Vague.as_view())]
"""


def project_of(template: Path) -> Path:
    """The project folder of a template."""
    return template / PROJECT.name


def test_without_verification_nothing_is_installed(tmp_path: Path) -> None:
    """`verify_project=false` needs no network, and says that the project is unverified."""
    done = render(tmp_path, verify_project=False, env=NO_NETWORK)
    assert done.returncode == 0
    assert UNVERIFIED in done.stdout
    assert (done.project / ".env").exists()
    assert not (done.project / ".venv").exists()


def test_without_network_the_project_stays_unverified(small: Path, tmp_path: Path) -> None:
    """The project is kept, exit status 0, with the command that verifies it; and that works."""
    done = render(tmp_path / "out", template=small, env=NO_NETWORK)
    assert done.returncode == 0
    assert UNVERIFIED in done.stdout
    assert not (done.project / ".venv").exists()
    later = run(VERIFY, cwd=done.project, env=environment(tmp_path))
    assert later.returncode == 0, later.stdout
    assert "1 passed" in later.stdout


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_cookiecutter_ends_all_that_it_started(
    stop: signal.Signals, small: Path, tmp_path: Path
) -> None:
    """Neither the hook nor the tests run on, and no log or copy of the project is left."""
    running = tmp_path / "running"
    write_test(
        small,
        "import os, subprocess, time\n\n\ndef test_long():\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        f"    open({str(running)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} ')\n"
        "    time.sleep(600)\n",
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [TOOLS / "cookiecutter", small, "--no-input", "--output-dir", tmp_path]
    env = environment(tmp_path, TMPDIR=str(temporary))
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until(lambda: running.exists() and running.read_text().endswith(" "))
    process.send_signal(stop)
    # The output ends when the last process that could write to it has ended.
    output, _ = process.communicate(timeout=60)
    assert UNVERIFIED.strip().encode() in output
    for pid in running.read_text().split():
        until(lambda pid=pid: not alive(int(pid)))
    assert (tmp_path / "my-realtime-backend" / "manage.py").exists()
    assert {path.suffix for path in temporary.iterdir()} <= {".py"}


def test_a_failing_test_fails_the_generation(small: Path, tmp_path: Path) -> None:
    """The output says why, a log outside the project keeps it, and the project is deleted."""
    write_test(small, "def test_sum():\n    assert 1 + 1 == 3\n")
    done = render(tmp_path / "out", template=small, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 1
    assert "assert (1 + 1) == 3" in done.stdout
    assert "--keep-project-on-failure" in done.stdout
    assert done.project is None
    log = re.search(r"the whole output is in (\S+\.log)", done.stdout)
    assert "assert (1 + 1) == 3" in Path(log[1]).read_text()


def test_a_failed_project_can_be_kept(small: Path, tmp_path: Path) -> None:
    """Cookiecutter's own flag keeps it, for a look."""
    write_test(small, "def test_sum():\n    assert 1 + 1 == 3\n")
    done = render(tmp_path / "out", "--keep-project-on-failure", template=small)
    assert done.returncode == 1
    assert (done.project / "backend" / "tests" / "test_one.py").exists()


@pytest.mark.parametrize(
    ("broken", "content", "complaint"),
    [
        ("backend/views.py", "def broken(:\n", "backend/views.py does not parse"),
        ("broken.json", "{'a': 1}", "broken.json does not parse"),
        ("broken.toml", "a = b", "broken.toml does not parse"),
        (".github/broken.yml", "a: [", "broken.yml does not parse"),
        ("broken.txt", "{% raw %}{{ cookiecutter.slug }}{% endraw %}", "a template marker is left"),
    ],
)
def test_a_file_that_does_not_parse_fails_the_generation(
    broken: str, content: str, complaint: str, small: Path, tmp_path: Path
) -> None:
    """The line names the file, before anything is installed."""
    (project_of(small) / broken).write_text(content)
    done = render(tmp_path / "out", template=small, verify_project=False)
    assert done.returncode == 1
    assert complaint in done.stdout


@pytest.mark.parametrize(
    ("path", "added", "complaint"),
    [
        ("backend/settings.py", "SECURE_SSL_REDIRECT = False\n", "security.W008"),
        ("backend/settings.py", "APPEND_SLASH = 5 / 0\n", "ZeroDivisionError"),
        (
            "accounts/models.py",
            "class Forgotten(models.Model):\n    pass\n",
            "Create model Forgotten",
        ),
        (
            "backend/urls.py",
            VAGUE_VIEW,
            "unable to guess serializer",
        ),
    ],
    ids=["deploy check", "settings", "missing migration", "OpenAPI warning"],
)
def test_a_failing_check_fails_the_generation(
    path: str, added: str, complaint: str, small: Path, tmp_path: Path
) -> None:
    """Each of Django's checks stops the generation and shows what it found."""
    with (project_of(small) / path).open("a") as file:
        file.write(f"\n\n{added}")
    done = render(tmp_path / "out", template=small)
    assert done.returncode == 1
    assert complaint in done.stdout
    assert "Failed: checking" in done.stdout


def test_the_temporary_folder_is_left_clean(small: Path, tmp_path: Path) -> None:
    """Neither the log nor the copy that was tested outlives a success."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = render(tmp_path / "out", template=small, env={"TMPDIR": str(temporary)})
    assert done.returncode == 0, done.stdout
    # Cookiecutter itself leaves the two hooks that it has rendered.
    assert {path.suffix for path in temporary.iterdir()} <= {".py"}


def test_an_existing_project_keeps_what_is_its_own(small: Path, tmp_path: Path) -> None:
    """Rendering over a project leaves `.env`, `api.http`, `.git`, `.venv` and database alone."""
    out = tmp_path / "out"
    project = render(out, template=small, verify_project=False).project
    own = ("api.http", ".env", ".git/HEAD", ".venv/bin/python", "db.sqlite3", "media/photo")
    for name in own:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(f"{name} of mine")
    done = render(out, "--overwrite-if-exists", template=small)
    assert done.returncode == 0, done.stdout
    assert "tests: 1 passed" in done.stdout
    for name in own:
        assert (project / name).read_text() == f"{name} of mine"
    assert {path.name for path in (project / ".venv").iterdir()} == {"bin"}


def test_an_existing_project_loses_no_app(tmp_path: Path) -> None:
    """Answers that would delete a part of an existing project are refused beforehand."""
    project = render(tmp_path, verify_project=False).project
    (project / "README.md").write_text("mine")
    done = render(tmp_path, "--overwrite-if-exists", verify_project=False, use_chat=False)
    assert done.returncode == 1
    assert "Refused: chat is there, but use_chat=false leaves it out" in done.stdout
    assert (project / "chat").is_dir()
    assert (project / "README.md").read_text() == "mine"


def test_a_repository_around_it_gets_no_repository_within(tmp_path: Path) -> None:
    """In a repository that would take the project in, there is no `git init`."""
    run(["git", "init", tmp_path]).check_returncode()
    done = render(tmp_path / "out", verify_project=False)
    assert "part of the git repository around it" in done.stdout
    assert not (done.project / ".git").exists()


def test_an_ignored_folder_gets_its_own_repository(tmp_path: Path) -> None:
    """In a folder that the repository around ignores, the project has its own."""
    run(["git", "init", tmp_path]).check_returncode()
    (tmp_path / ".gitignore").write_text("out/\n")
    done = render(tmp_path / "out", verify_project=False)
    assert (done.project / ".git").is_dir()


def test_without_git_there_is_no_repository(tmp_path: Path) -> None:
    """A machine without git renders all the same, and says so."""
    done = render(tmp_path, verify_project=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 0
    assert "git is not installed" in done.stdout


def test_two_projects_share_no_secret(tmp_path: Path) -> None:
    """Each rendering makes its own."""
    first = render(tmp_path / "first", verify_project=False).project
    second = render(tmp_path / "second", verify_project=False).project
    key = r"(?m)^SECRET_KEY=(.{50,})$"
    assert re.search(key, (first / ".env").read_text())[1] not in (second / ".env").read_text()


def test_the_refused_choices_are_those_that_are_not_offered() -> None:
    """What the first hook knows of the questions is what cookiecutter.json says."""
    hook = Path(PROJECT.parent, "hooks", "pre_gen_project.py").read_text()
    known = ast.literal_eval(re.search(r"CHOICES = (\{.*?\n\})", hook, re.DOTALL)[1])
    assert known == OPTIONS | {"verify_project": [True, False]}


def test_both_hooks_leave_out_the_same_files() -> None:
    """What the second prunes is what the first protects."""
    hooks = Path(PROJECT.parent, "hooks")
    tables = [
        re.search(r"(?:LEFT_OUT|KEPT) = \{\n(.*?)\n\}", path.read_text(), re.DOTALL)[1]
        for path in hooks.glob("*.py")
    ]
    paths = [re.findall(r'^    "(.*?)":', table, re.MULTILINE) for table in tables]
    assert paths[0] == paths[1] != []


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
