"""The documents say what is there: questions, answers, targets, files and locks."""

import json
import re
from pathlib import Path

import tomllib

from .faults.conftest import FAULTS
from .files import ALWAYS
from .template import OPTIONS, PROJECT, QUESTIONS, ROOT, TEXTS, environment, render, run

README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def test_the_readme_has_every_question_with_its_answers() -> None:
    """One row each, in the order of cookiecutter.json, the default first."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE)
    questions = [name for name in QUESTIONS if not name.startswith("_")]
    assert [name for name, _ in rows] == questions
    for name, answers in OPTIONS.items():
        written = [str(answer).lower() for answer in answers]
        if written == ["true", "false"] and not QUESTIONS[name]:
            written.reverse()
        assert re.findall("`(.*?)`", dict(rows)[name]) == written


def test_every_question_has_a_prompt() -> None:
    """In plain words, for each choice too."""
    prompts = QUESTIONS["__prompts__"]
    assert set(prompts) == {*TEXTS, *OPTIONS, "verify_project"}
    for name in ("database",):
        assert set(prompts[name]) == {"__prompt__", *OPTIONS[name]}


def test_the_readme_has_every_make_target() -> None:
    """The table lists what `make help` lists, in the same order or another."""
    targets = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)
    assert set(re.findall(r"^\| `make ([a-z-]+)`", README, re.MULTILINE)) == set(targets)
    assert set(re.search(r"\.PHONY: (.*)", MAKEFILE)[1].split()) == set(targets)


def test_make_alone_helps() -> None:
    """The default target lists all of them with a line each."""
    listed = run(["make"], cwd=ROOT).stdout
    assert listed == run(["make", "help"], cwd=ROOT).stdout
    for target in re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE):
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE)


def test_the_readme_shows_files_that_are_there() -> None:
    """Each name in the tree of what you get is rendered."""
    tree = re.search(r"## What you get\n\n((?:    .*\n)+)", README)[1]
    names = re.findall(r"(?m)^    (\w+/) ", tree) + re.findall(
        r"[\w.-]+\.\w+|Makefile|Dockerfile", tree
    )
    for name in names:
        assert (PROJECT / name).exists() or name in ALWAYS["."].split() or name == ".txt", name


def test_links_lead_somewhere() -> None:
    """Files that the documents link to exist."""
    for path in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
            assert (ROOT / target).exists(), f"{path.name}: {target}"


def test_the_changelog_keeps_its_format() -> None:
    """Keep a Changelog: what is unreleased comes first, and all headings are known."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    sections = re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)
    assert sections[0] == "Unreleased"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (\w+)", changelog, re.MULTILINE)) <= kinds


def test_the_template_and_the_project_are_formatted_by_the_same_ruff() -> None:
    """Both locks have the same version, or what one accepts the other might change."""
    locks = (ROOT / "requirements.txt", PROJECT / "requirements-dev.txt")
    versions = [
        re.search(r"^ruff==(\S+)", path.read_text("utf-8"), re.MULTILINE)[1] for path in locks
    ]
    assert versions[0] == versions[1]


def test_actions_are_pinned_alike() -> None:
    """The template's workflows and the project's use the same commits of the same actions."""
    pins = {}
    for folder in (ROOT, PROJECT):
        for workflow in (folder / ".github" / "workflows").iterdir():
            text = workflow.read_text("utf-8")
            uses = re.findall(r"uses: (\S+)@(\w{40} # v[\d.]+)\n", text)
            assert len(uses) == text.count("uses:")
            for action, pin in uses:
                assert pins.setdefault(action, pin) == pin, action
    assert pins


def test_ci_renders_every_combination() -> None:
    """The matrix of the workflow has every answer to every question."""
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    for name, answers in OPTIONS.items():
        row = re.search(rf"^        {name}: \[(.*)\]$", workflow, re.MULTILINE)[1]
        assert {part.strip(' "') for part in row.split(",")} == {str(a).lower() for a in answers}


def test_ci_has_the_images_that_the_project_names() -> None:
    """A machine that has to make its own images makes these and no others."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    made = re.search(r'"\$engine" up (.*)\)', script)[1].split()
    compose = (PROJECT / "docker-compose.yml").read_text("utf-8")
    named = re.findall(r"image: ([a-z]+:[\w.-]+)\n", compose)
    assert sorted(made) == sorted([f"python:{OPTIONS['python_version'][0]}-slim", *named])


def test_the_version_of_python_is_the_same_everywhere() -> None:
    """What the template needs itself is the oldest Python that it offers."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert pyproject["project"]["requires-python"] == f">={OPTIONS['python_version'][-1]}"


def test_the_readme_has_a_row_for_every_fault() -> None:
    """What is said to be survived is what the fault tests try, and nothing was lost or doubled."""
    rows = re.findall(r"^\| (\d+)\. (.*?) \| .* \| (\d+) \| (\d+) \|", README, re.MULTILINE)
    assert {int(number): fault for number, fault, _, _ in rows} == FAULTS
    assert all((lost, doubled) == ("0", "0") for _, _, lost, doubled in rows)


def chapter(title: str) -> str:
    """Return a chapter of the project's README."""
    readme = (PROJECT / "README.md").read_text("utf-8")
    return readme.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_projects_readme_has_every_make_target() -> None:
    """In the order of `make help`."""
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE)
    assert re.findall(r"^\| `make ([a-z]+)", chapter("Make targets"), re.MULTILINE) == targets


def test_the_projects_readme_has_every_setting() -> None:
    """Those that Django reads, with their default numbers, and those of Compose."""
    settings = (PROJECT / "backend" / "settings.py").read_text("utf-8")
    compose = (PROJECT / "docker-compose.yml").read_text("utf-8")
    example = (PROJECT / ".env.example").read_text("utf-8")
    known = {"ENV_FILE", *re.findall(r'env\.\w+\(\s*"(\w+)"', settings)}
    known |= {*re.findall(r"\$\{(\w+)", compose), *re.findall(r"(?m)^#? ?(\w+)=", example)}
    known -= {"NGINX_CONF"}  # make sets it
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| (.*?) \|", chapter("Settings")))
    assert set(rows) == known
    numbers = re.findall(r'env\.(?:int|float)\(\s*"(\w+)", default=([\d_]+)[,)]', settings)
    assert len(numbers) > 15
    for name, number in numbers:
        assert rows[name].split(", ")[0] == f"{int(number):,}", name


def test_the_figures_are_those_of_the_benchmarks() -> None:
    """What both READMEs say of speed stands in the tables of benchmarks/README.md."""
    measured = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    fast = README.partition("\n## How fast it is\n")[2].partition("\n## ")[0]
    figures = re.findall(r"\d+,\d{3}", fast)
    figures += re.findall(r"[\d,.]+ ms", chapter("From one process to many machines"))
    assert len(figures) > 10
    assert [figure for figure in figures if figure not in measured] == []


def test_the_close_codes_are_the_same_everywhere() -> None:
    """In the code, the README and the machine-readable description."""
    code = "".join(path.read_text("utf-8") for path in (PROJECT / "realtime").glob("*.py"))
    used = re.findall(r"(?m)^[A-Z_]+ = (44\d\d)$", code)
    rows = re.compile(r"(?m)^ *\| (\d{4}) \|")
    described = rows.findall((PROJECT / "asyncapi.yaml").read_text("utf-8"))
    assert rows.findall(chapter("WebSocket protocol")) == described
    assert set(described) == {"1000", "1011", *used}


def test_every_endpoint_is_documented(tmp_path: Path, venv_python: Path) -> None:
    """In the README's table, and as a request in `api.http`."""
    project = render(tmp_path, verify_project=False).project
    command = [venv_python, "manage.py", "spectacular", "--format", "openapi-json"]
    env = environment(tmp_path, DATABASE_URL=None, REDIS_URL=None, DJANGO_SETTINGS_MODULE=None)
    paths = json.loads(run(command, cwd=project, env=env).stdout)["paths"]
    operations = {(method.upper(), path) for path, methods in paths.items() for method in methods}

    requests = re.findall(
        r"^([A-Z]+) http://\{\{host\}\}([^?\s]+)", (project / "api.http").read_text(), re.MULTILINE
    )
    tried = {
        (method, path.replace("{{room}}", "{slug}").replace("/1/", "/{seq}/"))
        for method, path in requests
    }
    assert tried == operations | {("GET", path) for path in ("/api/schema/", "/livez", "/readyz")}
    table = chapter("REST").replace("<", "{").replace(">", "}")
    for _, path in operations:
        assert path in table or f"`/{path.split('/')[-2]}/`" in table, path
