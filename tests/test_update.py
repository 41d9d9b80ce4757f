"""The template under cruft, which renders old and new and applies the difference."""

import json
import shutil
from pathlib import Path

import pytest

from .template import CACHES, PROJECT, ROOT, TOOLS, environment, files, render, run


@pytest.fixture
def git_env(tmp_path: Path) -> dict[str, str]:
    """An environment in which git commits, as somebody."""
    somebody = {"NAME": "Ada", "EMAIL": "ada@example.com"}
    variables = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in somebody.items()
    }
    return environment(tmp_path, **variables)


@pytest.fixture
def template(tmp_path: Path, git_env: dict) -> Path:
    """A git repository with the template."""
    folder = tmp_path / "template"
    folder.mkdir()
    shutil.copy(ROOT / "cookiecutter.json", folder)
    for part in (ROOT / "hooks", PROJECT):
        shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns(*CACHES))
    commit(folder, git_env)
    return folder


def commit(folder: Path, env: dict) -> None:
    """Commit everything in a folder, as a repository of its own."""
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        run(["git", *arguments], cwd=folder, env=env).check_returncode()


def test_cruft_renders_what_cookiecutter_renders(
    template: Path, tmp_path: Path, git_env: dict
) -> None:
    """Byte for byte the same, without the files that belong to one machine."""
    done = run([TOOLS / "cruft", "create", template, "--no-input"], cwd=tmp_path, env=git_env)
    assert done.returncode == 0, done.stdout
    assert "unverified; `make install test` verifies it" in done.stdout
    created = tmp_path / "my-realtime-backend"
    rendered = render(tmp_path / "out", template=template, verify_project=False).project
    assert files(created) - {".cruft.json"} == files(rendered) - {".env", "api.http"}
    for name in files(created) - {".cruft.json"}:
        assert (created / name).read_bytes() == (rendered / name).read_bytes(), name
    assert not (created / ".git").exists()
    assert "SECRET_KEY" not in json.dumps(json.loads((created / ".cruft.json").read_text()))


@pytest.mark.parametrize("answers", [{}, {"use_chat": False, "database": "postgresql"}], ids=str)
def test_cruft_updates_only_what_the_template_changed(
    answers: dict, template: Path, tmp_path: Path, git_env: dict
) -> None:
    """A later version of the template arrives, and nothing of the machine's is touched."""
    extra = ["--extra-context", json.dumps(answers)]
    create = [TOOLS / "cruft", "create", template, "--no-input", *extra]
    run(create, cwd=tmp_path, env=git_env).check_returncode()
    project = tmp_path / "my-realtime-backend"
    own = {".env": "SECRET_KEY=mine", "api.http": "GET /mine", "db.sqlite3": "rows"}
    for name, text in own.items():
        (project / name).write_text(text)
    commit(project, git_env)

    changed = template / PROJECT.name / ".editorconfig"
    changed.write_text(changed.read_text() + "\n[*.new]\nindent_size = 8\n")
    commit(template, git_env)
    done = run([TOOLS / "cruft", "update", "--skip-apply-ask"], cwd=project, env=git_env)
    assert done.returncode == 0, done.stdout

    status = run(["git", "status", "--porcelain"], cwd=project, env=git_env).stdout
    assert sorted(line[3:] for line in status.splitlines()) == [".cruft.json", ".editorconfig"]
    assert "[*.new]" in (project / ".editorconfig").read_text()
    for name, text in own.items():
        assert (project / name).read_text() == text
    assert run([TOOLS / "cruft", "check"], cwd=project, env=git_env).returncode == 0
