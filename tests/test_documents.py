"""The documents say what is there: questions, answers, targets, files and locks."""

import json
import re
import struct
from fnmatch import fnmatch
from itertools import chain, takewhile
from pathlib import Path

import pytest
import tomllib

from scripts.lock import PLATFORMS, PYTHONS, versions

from .faults.conftest import FAULTS
from .files import ALWAYS
from .template import (
    FUNCTIONAL,
    OPTIONS,
    PROJECT,
    QUESTIONS,
    ROOT,
    TEXTS,
    environment,
    files,
    render,
    run,
    title,
)

README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# What stands at the top of the README is seen without scrolling.
FIRST_SCREEN = README[: README.index("\n## ")]
LARGEST_PICTURE_BYTES = 600_000

# Chapter with commands in a block -> who types them, and a text that shows it there.
TRIED = {
    "cookiecutter-django-realtime": ("tests/machines/stranger.sh", "make demo"),
    "Five-minute tour": ("tests/test_tour.py", "Five-minute tour"),
    "The first minute": ("tests/test_tour.py", "The first minute"),
    "Without make (Windows)": ("tests/test_tour.py", "Without make (Windows)"),
    "Push events": ("tests/test_tour.py", "docker compose exec -T wsgi"),
    "Deployment": ("tests/docker/test_deployment.py", 'make("up")'),
    "From one process to many machines": ("tests/docker/test_swarm.py", 'make("deploy")'),
}
# Chapters whose blocks show files.
TREES = {"What you get", "What is where"}


def test_the_first_screen_sells_and_leads() -> None:
    """Name, badges, a sentence, a command to paste, the moving picture, versions; in this order."""
    name = "cookiecutter-django-realtime"
    order = [
        f"# {name}\n",
        f"/{name}/actions/workflows/ci.yml/badge.svg",
        f"license-{PYPROJECT['license']}",
        f"python-{PYTHONS[0]}_to_{PYTHONS[-1]}",
        "django-5.2_LTS",
        "**One command",
        f"\n    cookiecutter gh:ORG/{name}\n",
        "](docs/images/resume.gif)",
        "\nDjango 5.2, ",
    ]
    found = [FIRST_SCREEN.find(part) for part in order]
    assert -1 not in found, order[found.index(-1)]
    assert found == sorted(found)
    assert (ROOT / ".github" / "workflows" / "ci.yml").exists()


def test_the_versions_are_those_of_the_locks() -> None:
    """Each package on the first screen has the version that is installed."""
    locked = versions((PROJECT / "requirements.txt").read_text("utf-8"))
    said = re.search(r"Django [\d.]+, Channels .*?;", FIRST_SCREEN.replace("\n", " "))[0]
    packages = {"Django REST framework": "djangorestframework"}
    found = re.findall(r"([A-Z][A-Za-z ]+?) (\d+\.\d+)[,;]", said)
    assert len(found) == 4
    for name, version in found:
        assert locked[packages.get(name, name.lower())].startswith(f"{version}."), name


def test_the_placeholder_is_explained_once() -> None:
    """`ORG` stands in addresses, and what to put in its place stands on the first screen."""
    text = README.replace("\n", " ")
    explained = re.findall(r"replace `ORG` by the account that hosts this repository", text)
    assert len(explained) == 1
    assert re.findall(r"(?<![/:`])\bORG\b", README) == []


def test_the_pictures_are_there_and_small() -> None:
    """Each is shown with words for those who do not see it, and the moving one moves."""
    shown = re.findall(r"!\[([^]]*)\]\((docs/[^)]+)\)", README)
    folder = ROOT / "docs" / "images"
    assert {Path(path).name for _, path in shown} == {path.name for path in folder.iterdir()}
    for words, path in shown:
        assert len(words) > 30, path
        assert (ROOT / path).stat().st_size < LARGEST_PICTURE_BYTES
    content = (folder / "resume.gif").read_bytes()
    assert content.startswith(b"GIF89a")
    # Each graphic control extension is the beginning of a frame.
    assert len(re.findall(rb"\x21\xf9\x04.{4}\x00\x2c", content, re.DOTALL)) > 10
    assert struct.unpack("<H", content[6:8])[0] > 1_600


def test_the_machines_are_those_that_the_locks_are_checked_for() -> None:
    """What the README says of wheels is what `make lock` looks for."""
    assert sorted(OPTIONS["python_version"]) == list(PYTHONS)
    machines = README.partition("\n### Machines\n")[2].partition("\n### ")[0]
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in machines
    said = set()
    for system in ("Linux", "macOS", "Windows"):
        (line,) = re.findall(rf"(?m)^- {system}\b.*", machines)
        kinds = re.findall(r"x86-64|aarch64|arm64", line.partition("(")[0])
        said |= {f"{system} {kind}" for kind in kinds}
    assert said == set(PLATFORMS.values())


def test_the_suite_is_as_large_as_the_readme_says(
    default_project: Path, venv_python: Path, tmp_path: Path
) -> None:
    """The number of tests that a user waits for, but for the last few."""
    number, _ = re.search(r"<!-- suite -->(\d+) tests in (\d+) s<!-- end -->", README).groups()
    env = environment(tmp_path)
    done = run([venv_python, "-m", "pytest", "--collect-only", "-q"], cwd=default_project, env=env)
    collected = int(re.search(r"(\d+) tests collected", done.stdout)[1])
    assert 0.95 * collected <= int(number) <= 1.05 * collected


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
    """Files and chapters that the documents link to exist."""
    for path in [*ROOT.glob("*.md"), PROJECT / "README.md", ROOT / "benchmarks" / "README.md"]:
        text = path.read_text("utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
            linked = path.parent / target if target else path
            assert linked.exists(), f"{path.name}: {target}"
            titles = re.findall(r"(?m)^#+ (.*)$", linked.read_text("utf-8")) if anchor else []
            anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert not anchor or anchor in anchors, f"{path.name}: {anchor}"


def test_the_changelog_keeps_its_format() -> None:
    """Keep a Changelog: unreleased first, then dated versions, each with a link; known headings."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    sections = re.findall(r"^## \[(.*?)\](?: - \d{4}-\d\d-\d\d)?$", changelog, re.MULTILINE)
    assert len(sections) == len(re.findall(r"^## ", changelog, re.MULTILINE))
    assert sections[0] == "Unreleased"
    assert sections[1] == PYPROJECT["version"]
    assert sections[1:] == sorted(sections[1:], reverse=True)
    assert re.findall(r"^\[(.*?)\]: https://github\.com/ORG/", changelog, re.MULTILINE) == sections
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
    """A machine that has to make its own images makes these, and a Python of each version."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    pythons, *made = re.search(r'"\$engine" up ([^>]*)', script)[1].replace("\\\n", "").split()
    compose = (PROJECT / "docker-compose.yml").read_text("utf-8")
    assert sorted(made) == sorted(re.findall(r"image: ([a-z]+:[\w.-]+)\n", compose))
    assert all(fnmatch(f"python:{version}-slim", pythons) for version in OPTIONS["python_version"])


def test_the_version_of_python_is_the_same_everywhere() -> None:
    """What the template needs itself is the oldest Python that it offers."""
    assert PYPROJECT["requires-python"] == f">={OPTIONS['python_version'][-1]}"


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
    used = re.findall(r"(?m)^    [A-Z_]+ = (44\d\d)$", code)
    rows = re.compile(r"(?m)^ *\| (\d{4}) \|")
    described = rows.findall((PROJECT / "asyncapi.yaml").read_text("utf-8"))
    assert rows.findall(chapter("WebSocket protocol")) == described
    assert set(described) == {"1000", "1011", *used}


@pytest.fixture(scope="module")
def default_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the default answers."""
    return render(tmp_path_factory.mktemp("out"), verify_project=False).project


def test_every_endpoint_is_documented(
    default_project: Path, tmp_path: Path, venv_python: Path
) -> None:
    """In the README's table, and as a request in `api.http`."""
    project = default_project
    command = [venv_python, "manage.py", "spectacular", "--format", "openapi-json"]
    env = environment(tmp_path, DATABASE_URL=None, REDIS_URL=None, DJANGO_SETTINGS_MODULE=None)
    paths = json.loads(run(command, cwd=project, env=env).stdout)["paths"]
    operations = {(method.upper(), path) for path, methods in paths.items() for method in methods}

    requests = re.findall(
        r"^([A-Z]+) http://\{\{host\}\}([^?\s]+)", (project / "api.http").read_text(), re.MULTILINE
    )
    tried = {
        (
            method,
            path.replace("{{room}}", "{slug}")
            .replace("/1/", "/{seq}/")
            .replace("/streams/realtime/", "/streams/{name}/"),
        )
        for method, path in requests
    }
    assert tried == operations | {("GET", path) for path in ("/api/schema/", "/livez", "/readyz")}
    table = chapter("REST").replace("<", "{").replace(">", "}")
    for _, path in operations:
        assert path in table or f"`/{path.split('/')[-2]}/`" in table, path


def rendered_readmes(folder: Path) -> list[str]:
    """Return the template's README, and the project's for each database."""
    projects = [
        render(folder / database, verify_project=False, database=database).project
        for database in OPTIONS["database"]
    ]
    return [README, *((project / "README.md").read_text("utf-8") for project in projects)]


def test_every_command_in_a_block_is_tried(tmp_path: Path) -> None:
    """Each chapter that shows some has a test that types them."""
    chapters = set()
    for readme in rendered_readmes(tmp_path):
        text = re.sub(r"(?s)```.*?```", "", readme)
        parts = re.split(r"(?m)^#+ (.*)$", text)[1:]
        shown = zip(parts[::2], parts[1::2], strict=True)
        chapters |= {name for name, part in shown if re.search(r"(?m)^    \S", part)}
    assert chapters - TREES - {"My Realtime Backend"} == set(TRIED)
    for name, (path, text) in TRIED.items():
        assert text in (ROOT / path).read_text("utf-8"), name


def test_every_target_that_is_named_is_there(tmp_path: Path) -> None:
    """No document tells people to type a `make` target that there is not."""
    targets = {
        folder: set(re.findall(r"(?m)^([a-z-]+):.*## ", (folder / "Makefile").read_text("utf-8")))
        for folder in (ROOT, PROJECT)
    }
    for path in [*ROOT.glob("*.md"), PROJECT / "README.md", PROJECT / "AGENTS.md"]:
        known = targets[PROJECT] if path.parent == PROJECT else targets[ROOT] | targets[PROJECT]
        named = re.findall(r"(?:`|^    )make ([^`#\n]*)", path.read_text("utf-8"), re.MULTILINE)
        words = [takewhile(re.compile(r"[a-z-]+").fullmatch, text.split()) for text in named]
        for target in chain.from_iterable(words):
            assert target in known, f"{path.name}: make {target}"


@pytest.mark.parametrize("answers", FUNCTIONAL, ids=map(title, FUNCTIONAL))
def test_the_house_rules_hold(answers: dict, tmp_path: Path) -> None:
    """What AGENTS.md names is there, whatever the answers: targets, paths, apps and functions."""
    project = render(tmp_path, verify_project=False, **answers).project
    rules = (project / "AGENTS.md").read_text("utf-8")
    names = files(project)
    folders = {f"{Path(name).parts[0]}/" for name in names if "/" in name}
    paths = set(re.findall(r"`([\w./-]+(?:\.\w{2,4}|/))`", rules)) - {
        "backend.settings",
        "realtime.",
    }
    assert len(paths) > 10
    assert paths - names - folders == set()

    commands = run(["make", "help"], cwd=project).stdout
    listed = re.findall(r"(?m)^    make (\w+)", rules)
    assert listed == ["install", "run", "test", "lint", "typecheck", "format", "migrate"]
    for target in listed + re.findall(r"`make (\w+)", rules):
        assert f"make {target} " in commands

    assert ("`chat`" in rules) == ("`chat/`" in rules) == answers["use_chat"]
    layers = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert " → ".join(f"`{app}`" for app in layers["contracts"][0]["layers"]) in rules
    code = "".join((project / name).read_text("utf-8") for name in names if name.endswith(".py"))
    for name in re.findall(r"`(?:await |streams\.)?(\w+)\(", rules):
        assert f"def {name}(" in code, name
    for name in re.findall(r"`([A-Z][A-Z_]+)`", rules):
        assert name in code, name
    readme = (project / "README.md").read_text("utf-8")
    for chapter_title in re.findall(r'chapter\s+"(.*?)"', rules):
        assert f"\n## {chapter_title}\n" in readme
