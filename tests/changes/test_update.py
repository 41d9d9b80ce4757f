"""The template under cruft, which renders old and new and applies the difference.

What UPGRADING.md tells to type is typed here as it stands.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from ..template import (
    CACHES,
    FUNCTIONAL,
    PROJECT,
    ROOT,
    TOOLS,
    environment,
    files,
    render,
    run,
    title,
)

UPGRADING = (ROOT / "UPGRADING.md").read_text("utf-8")
# The commit that is version 0.1.0.
FIRST = "ccb5820ac2d3af0dc0e3f69f4e5ebf86fce7d0b2"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which git commits, as somebody."""
    somebody = {"NAME": "Ada", "EMAIL": "ada@example.com"}
    variables = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in somebody.items()
    }
    return environment(tmp_path, **variables)


@pytest.fixture
def template(tmp_path: Path, env: dict) -> Path:
    """A git repository with the template as it is here."""
    folder = tmp_path / "template"
    folder.mkdir()
    put_template(folder)
    commit(folder, env)
    return folder


@pytest.fixture
def history(tmp_path: Path, env: dict) -> Path:
    """The template's own repository, with what is here on top of its real versions."""
    if run(["git", "cat-file", "-e", f"{FIRST}^{{commit}}"], cwd=ROOT).returncode:
        pytest.skip("this clone is shallow: version 0.1.0 is not in it")
    folder = tmp_path / "history"
    run(["git", "clone", "--quiet", ROOT, folder], env=env).check_returncode()
    shutil.rmtree(folder / PROJECT.name)
    shutil.rmtree(folder / "hooks")
    put_template(folder)
    commit(folder, env)
    return folder


def put_template(folder: Path) -> None:
    """Copy what is rendered, and nothing that was made here."""
    shutil.copy(ROOT / "cookiecutter.json", folder)
    for part in (ROOT / "hooks", PROJECT):
        shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns(*CACHES))


def commit(folder: Path, env: dict) -> None:
    """Commit everything in a folder, as a repository of its own."""
    for arguments in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["commit", "--quiet", "--allow-empty", "--message", "all"],
    ):
        run(["git", *arguments], cwd=folder, env=env).check_returncode()


def create(template: Path, folder: Path, env: dict, *options: str, **answers: object) -> Path:
    """Make a project with `cruft create`, and commit it."""
    extra = ["--extra-context", json.dumps(answers)]
    command = [TOOLS / "cruft", "create", template, "--no-input", *extra, *options]
    done = run(command, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout
    project = folder / "my-realtime-backend"
    commit(project, env)
    return project


def told(heading: str) -> str:
    """Return the commands that UPGRADING.md has below a heading."""
    chapter = re.split(r"\n##+ ", UPGRADING.partition(f"# {heading}\n")[2])[0]
    commands = re.findall(r"^    (.*)$", chapter, re.MULTILINE)
    assert commands, heading
    return "\n".join(commands)


def do(heading: str, project: Path, env: dict) -> str:
    """Type what UPGRADING.md tells below a heading; everything must work."""
    done = run(["sh", "-ex", "-c", told(heading)], cwd=project, env=env)
    assert done.returncode == 0, done.stdout
    return done.stdout


def change(project: Path, env: dict, **answers: object) -> None:
    """Change answers, as every chapter does."""
    command = [TOOLS / "cruft", "update", "--skip-apply-ask", "--variables-to-update"]
    done = run([*command, json.dumps(answers)], cwd=project, env=env)
    assert done.returncode == 0, done.stdout


def manage(project: Path, env: dict, code: str) -> str:
    """Run Python in the project, on its database, and return what it prints."""
    command = [".venv/bin/python", "manage.py", "shell", "--no-imports", "-c", code]
    done = run(command, cwd=project, env=env)
    assert done.returncode == 0, done.stdout
    return (done.stdout.strip().splitlines() or [""])[-1]


def unmerged(project: Path, env: dict) -> list[str]:
    """Return the files that an update could not merge, and where it left pieces beside them."""
    status = run(["git", "status", "--porcelain"], cwd=project, env=env).stdout.splitlines()
    marked = [line[3:] for line in status if line[:2] in ("UU", "AA", "UD", "DU", "AU", "UA")]
    return marked + [path.name for path in project.rglob("*.rej") if ".venv" not in path.parts]


def test_cruft_renders_what_cookiecutter_renders(template: Path, tmp_path: Path, env: dict) -> None:
    """Byte for byte the same, without the files that belong to one machine."""
    done = run([TOOLS / "cruft", "create", template, "--no-input"], cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stdout
    assert "`make install test` verifies it" in done.stdout
    created = tmp_path / "my-realtime-backend"
    rendered = render(tmp_path / "out", template=template, verify_project=False).project
    assert files(created) - {".cruft.json"} == files(rendered) - {".env", "api.http"}
    for name in files(created) - {".cruft.json"}:
        assert (created / name).read_bytes() == (rendered / name).read_bytes(), name
    assert not (created / ".git").exists()
    assert "SECRET_KEY" not in json.dumps(json.loads((created / ".cruft.json").read_text()))


@pytest.mark.parametrize("answers", [{}, {"use_chat": False, "database": "postgresql"}], ids=str)
def test_an_update_brings_only_what_the_template_changed(
    answers: dict, template: Path, tmp_path: Path, env: dict
) -> None:
    """A later version of the template arrives, and nothing of the machine's is touched."""
    project = create(template, tmp_path, env, **answers)
    own = {".env": "SECRET_KEY=mine", "api.http": "GET /mine", "db.sqlite3": "rows"}
    for name, text in own.items():
        (project / name).write_text(text)

    changed = template / PROJECT.name / ".editorconfig"
    changed.write_text(changed.read_text() + "\n[*.new]\nindent_size = 8\n")
    commit(template, env)
    done = run([TOOLS / "cruft", "update", "--skip-apply-ask"], cwd=project, env=env)
    assert done.returncode == 0, done.stdout

    status = run(["git", "status", "--porcelain"], cwd=project, env=env).stdout
    assert sorted(line[3:] for line in status.splitlines()) == [".cruft.json", ".editorconfig"]
    assert "[*.new]" in (project / ".editorconfig").read_text()
    for name, text in own.items():
        assert (project / name).read_text() == text
    assert run([TOOLS / "cruft", "check"], cwd=project, env=env).returncode == 0


@pytest.mark.parametrize(
    "answers",
    [
        {"database": "sqlite", "use_chat": True, "use_nginx": True},
        {"database": "postgresql", "use_chat": False, "use_nginx": False},
    ],
    ids=title,
)
def test_the_first_version_becomes_this_one(
    answers: dict, history: Path, tmp_path: Path, env: dict
) -> None:
    """From 0.1.0, with changes of one's own: they stay, the rest is what is rendered today."""
    project = create(history, tmp_path, env, "--checkout", FIRST, **answers)
    settings = project / "backend/settings.py"
    app = '    "accounts",\n'
    settings.write_text(settings.read_text().replace(app, app + '    "orders",\n'))
    (project / "orders").mkdir()
    (project / "orders/__init__.py").touch()
    (project / "README.md").write_text("# Ours\n")
    makefile = project / "Makefile"
    makefile.write_text(
        makefile.read_text().replace("\nhelp: ##", "\ngreet: ## Greet\n\t@echo hello\n\nhelp: ##")
    )
    commit(project, env)

    done = run([TOOLS / "cruft", "update", "--skip-apply-ask"], cwd=project, env=env)
    assert done.returncode == 0, done.stdout
    # A README that was written anew is the one thing that a person has to look at.
    assert unmerged(project, env) in ([], ["README.md"], ["README.md.rej"])
    (project / "README.md").write_text("# Ours\n")

    fresh = render(tmp_path / "out", template=history, verify_project=False, **answers).project
    own = {"README.md", "Makefile", "backend/settings.py"}
    for name in files(fresh) - {".env", "api.http", *own}:
        assert (project / name).read_bytes() == (fresh / name).read_bytes(), name
    more = files(project) - files(fresh)
    assert more <= {".cruft.json", "orders/__init__.py", "README.md.rej"}
    assert settings.read_text() == (
        (fresh / "backend/settings.py").read_text().replace(app, app + '    "orders",\n')
    )
    assert "@echo hello" in makefile.read_text()

    run(["make", "install"], cwd=project, env=env).check_returncode()
    tested = run(["make", "test", "args=--exitfirst --numprocesses 2"], cwd=project, env=env)
    assert tested.returncode == 0, tested.stdout


def test_without_cruft_an_update_is_a_difference_of_two_renderings(
    history: Path, tmp_path: Path, env: dict
) -> None:
    """The way for those who have no cruft leads to the same files, and keeps what is one's own."""
    for name, version in (("v0.1.0", FIRST), ("v0.2.0", "HEAD")):
        run(["git", "tag", "--force", name, version], cwd=history, env=env).check_returncode()
    typed = told("Without cruft, and with Copier")
    # As an address, of which Cookiecutter makes a clone.
    address = f"git+file://{history}"
    typed = typed.replace("/tmp", str(tmp_path))  # nosec B108: it is the document that says so
    typed = re.sub(r"gh:ORG/\S+", f"{address} --no-input", typed)
    own = render(
        tmp_path / "own", "--checkout", "v0.1.0", template=address, verify_project=False
    ).project
    (own / "orders").mkdir()
    (own / "orders/__init__.py").touch()
    commit(own, env)

    done = run(["sh", "-ex", "-c", typed], cwd=own, env=env)

    assert done.returncode == 0, done.stdout
    fresh = tmp_path / "new/my-realtime-backend"
    for name in files(fresh):
        assert (own / name).read_bytes() == (fresh / name).read_bytes(), name
    assert files(own) - files(fresh) <= {"orders/__init__.py", ".env", "api.http"}


@pytest.mark.parametrize("answers", FUNCTIONAL, ids=title)
def test_a_changed_answer_is_as_if_it_had_been_given(
    answers: dict, template: Path, tmp_path: Path, env: dict
) -> None:
    """Whatever the project was made with, each answer can be changed, and leaves nothing behind."""
    start = {"database": "sqlite", "use_chat": True, "use_nginx": True}
    first = {name: answers[name] for name in start}
    then = {**first, "use_chat": not first["use_chat"], "use_nginx": not first["use_nginx"]}
    then["database"] = "sqlite" if first["database"] == "postgresql" else "postgresql"
    project = create(template, tmp_path, env, **first)
    change(project, env, **then)
    fresh = render(tmp_path / "out", template=template, verify_project=False, **then).project
    assert unmerged(project, env) == []
    assert files(project) - {".cruft.json"} == files(fresh) - {".env", "api.http"}
    for name in files(project) - {".cruft.json"}:
        assert (project / name).read_bytes() == (fresh / name).read_bytes(), name


FILL = """
from accounts.models import User
from realtime.notification import notify_user
ada = User.objects.create_user("ada", "ada@example.com", "analytical-engine")
for n in range(3):
    notify_user(ada.pk, {"type": "notification", "n": n})
"""
TALK = """
from accounts.models import User
from chat.models import Message, Room
from realtime import streams
ada = User.objects.get(username="ada")
room = Room.objects.create(slug="general", name="General")
room.memberships.create(user=ada, role="owner")
streams.append(Room, room.pk, {"type": "chat.message", "text": "hello"}, sender=ada)
"""
COUNT = """
from accounts.models import User
from realtime.models import UserEvent, UserStream
ada = User.objects.get(username="ada")
stream = UserStream.objects.get(user=ada)
seqs = list(UserEvent.objects.order_by("seq").values_list("seq", flat=True))
print(ada.pk, stream.epoch, stream.head, seqs, ada.check_password("analytical-engine"))
"""
DELETE = """
from accounts.models import User
print(User.objects.get(username="ada").delete()[0] > 0)
"""


def test_chat_is_added_to_a_project_with_data(template: Path, tmp_path: Path, env: dict) -> None:
    """Its tables are made, and users can be deleted with what they have written there."""
    project = create(template, tmp_path, env, use_chat=False)
    run(["make", "install", "migrate"], cwd=project, env=env).check_returncode()
    manage(project, env, FILL)
    do("Adding chat", project, env)
    manage(project, env, TALK)
    assert manage(project, env, DELETE) == "True"


def test_chat_is_removed_from_a_project_with_data(
    template: Path, tmp_path: Path, env: dict
) -> None:
    """With its tables, so that users can be deleted; without them `migrate` would have warned."""
    project = create(template, tmp_path, env)
    run(["make", "install", "migrate"], cwd=project, env=env).check_returncode()
    manage(project, env, FILL + TALK)
    shutil.copy(project / "db.sqlite3", tmp_path / "before.sqlite3")

    output = do("Removing chat", project, env)
    assert "accounts.W001" not in output
    assert manage(project, env, DELETE) == "True"

    # Who forgets the first line is told what to do by every migration.
    for path in project.glob("db.sqlite3*"):
        path.unlink()
    shutil.copy(tmp_path / "before.sqlite3", project / "db.sqlite3")
    warned = run(["make", "migrate"], cwd=project, env=env).stdout
    assert "(accounts.W001) The database has the tables of 'chat', which is no longer" in warned
    assert "`python manage.py migrate chat zero`" in warned


def test_nginx_is_removed(template: Path, tmp_path: Path, env: dict) -> None:
    """Nothing of it is left in what the project deploys."""
    project = create(template, tmp_path, env)
    do("Adding or removing nginx", project, env)
    assert not (project / "nginx.conf").exists()
    stack = yaml.safe_load((project / "docker-compose.yml").read_text())
    assert "nginx" not in stack["services"]


def test_data_moves_from_sqlite_to_postgresql(template: Path, tmp_path: Path, env: dict) -> None:
    """Users keep ids and passwords, streams their epochs and numbers; nothing is left in a file."""
    project = create(template, tmp_path, env)
    run(["make", "install", "migrate"], cwd=project, env=env).check_returncode()
    manage(project, env, FILL + TALK)
    before = manage(project, env, COUNT)

    # Until `.env` is changed, make says which database it is that is used.
    halfway = tmp_path / "halfway"
    shutil.copytree(project, halfway, symlinks=True)
    change(halfway, env, database="postgresql")
    said = run(["make", "migrate"], cwd=halfway, env=env).stdout
    assert "DATABASE_URL names no PostgreSQL: sqlite:///db.sqlite3\n" in said

    do("From SQLite to PostgreSQL", project, env)
    assert manage(project, env, COUNT) == before
    assert "[1, 2, 3] True" in before
    # New rows get new numbers, of events and of tables.
    manage(project, env, FILL.replace("ada@", "bob@").replace('"ada"', '"bob"'))
    moved = json.loads((project / "backups/data.json").read_text())
    assert any(row["model"] == "chat.message" for row in moved)
    assert re.search(r"^POSTGRES_PASSWORD=\S{50,}$", (project / ".env").read_text(), re.MULTILINE)


def test_another_python(template: Path, tmp_path: Path, env: dict) -> None:
    """The files say so at once; a new environment has it where the machine does."""
    project = create(template, tmp_path, env)
    do("Another Python", project, env)
    assert "python:3.14-slim" in (project / "Dockerfile").read_text()
    assert (project / ".venv/.installed").exists()


def test_the_workflow_opens_a_pull_request(template: Path, tmp_path: Path, env: dict) -> None:
    """Its commands update the project, push a branch, and say what a person has to merge."""
    project = create(template, tmp_path, env)
    workflow = yaml.safe_load((project / ".github/workflows/template.yml").read_text())
    job = workflow["jobs"]["update"]
    assert job["if"] == "${{ vars.TEMPLATE_UPDATES == 'on' }}"
    script = "\n".join(step["run"] for step in job["steps"] if "run" in step)
    origin = tmp_path / "origin.git"
    run(["git", "init", "--quiet", "--bare", origin], env=env).check_returncode()
    run(["git", "remote", "add", "origin", origin], cwd=project, env=env).check_returncode()
    # GitHub's own command line, and pipx with the locked cruft.
    tools = tmp_path / "tools"
    tools.mkdir()
    asked = tmp_path / "asked"
    (tools / "gh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{asked}\n')
    (tools / "pipx").write_text(f'#!/bin/sh\nshift 2\nexec {TOOLS}/cruft "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    env = env | {"PATH": f"{tools}{os.pathsep}{env['PATH']}", "GH_TOKEN": "none"}

    nothing = run(["bash", "-e", "-c", script], cwd=project, env=env)
    assert nothing.returncode == 0, nothing.stdout
    assert nothing.stdout.endswith("Nothing has changed.\n")
    assert not asked.exists()

    mine = project / ".editorconfig"
    mine.write_text(mine.read_text().replace("indent_size = 4", "indent_size = 3"))
    commit(project, env)
    changed = template / PROJECT.name / ".editorconfig"
    changed.write_text(changed.read_text().replace("indent_size = 4", "indent_size = 8"))
    commit(template, env)
    done = run(["bash", "-e", "-c", script], cwd=project, env=env)
    assert done.returncode == 0, done.stdout
    assert "To be merged by hand: .editorconfig" in asked.read_text()
    pushed = run(["git", "show", "template-update:.editorconfig"], cwd=origin, env=env).stdout
    assert "<<<<<<<" in pushed
    assert "indent_size = 8" in pushed


def test_the_versions_are_told() -> None:
    """Each released version has a chapter on how one comes to it from the one before."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d[\d.]+)\] - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)
    chapters = re.findall(r"^## From ([\d.]+) to ([\d.]+)$", UPGRADING, re.MULTILINE)
    assert chapters == list(zip(released[1:], released[:-1], strict=True))
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{released[0]}"' in pyproject
