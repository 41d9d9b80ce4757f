"""Hostile answers: each is rendered as the text that it is, or refused in one line."""

import json
from pathlib import Path

import pytest
import tomllib

from .conftest import write_test
from .template import ROOT, environment, files, render, run

# Texts that mean something to one of the formats or programs that an answer passes through.
TEXTS = {
    "python": '"; import os; os.system("touch pwned") #',
    "quotes": 'It\'s "quoted"',
    "docstrings": '""" and \'\'\' and \\"""',
    "backslashes": "C:\\new\\table \\u0041 \\",
    "shell": "$(touch pwned) `touch pwned` ; touch pwned & | > pwned",
    "make and compose": "$HOME $$ ${HOME} ${HOME:?} $(shell touch pwned)",
    "comment": "before # after",
    "yaml": "key: [value, - *alias !!python/object:os.system",
    "toml": '"]\n[tool]'.replace("\n", " ") + " = '",
    "html": "<script>alert(1)</script> & <b>",
    "markdown": "[link](javascript:x) **bold** `code` | table",
    "emoji": "Rocket 🚀 and family 👩‍👩‍👧",
    "other scripts": "Ünïcödé 東京 Москва שלום",
    "percent": "100% {} {0} %s %(name)s",
    "braces": "} }} %} #} {",
    "edges": "  blanks around  ",
    "long": "x" * 300,
    "digits": "12345",
    "null": "null",
}

REFUSED = {
    "tab": ("author_name", "a\tb", "control character U+0009"),
    "new line": ("description", "a\nb", "control character U+000A"),
    "carriage return": ("project_name", "a\rb", "control character U+000A"),
    "escape": ("author_name", "\x1b[31mred", "control character U+001B"),
    "delete": ("description", "a\x7fb", "control character U+007F"),
    "line separator": ("description", "a\u2028b", "control character U+2028"),
    "turned around": ("project_name", "a\u202eb", "control character U+202E"),
    "stray byte": ("author_name", "a\udcffb", "is not in the encoding that this terminal claims"),
    "expression": ("description", "{% raw %}{{ 1 }}{% endraw %}", "template delimiter {{"),
    "statement": ("author_name", "{% raw %}{% if x %}{% endraw %}", "template delimiter {%"),
    "comment": ("project_name", "{% raw %}{# x #}{% endraw %}", "template delimiter {#"),
    "blank name": ("project_name", "   ", "project_name is empty"),
    "capitals": ("project_slug", "MyProject", "lower-case letters"),
    "space": ("project_slug", "my project", "lower-case letters"),
    "dot": ("project_slug", "my.project", "lower-case letters"),
    "option": ("project_slug", "-rf", "lower-case letters"),
    "shell": ("project_slug", "a;touch pwned", "lower-case letters"),
    "last dash": ("project_slug", "my-", "lower-case letters"),
    "too long": ("project_slug", "x" * 64, "lower-case letters"),
    "accent": ("project_slug", "café", "lower-case letters"),
    "folders": ("project_slug", "a/b", "lower-case letters"),
    "backend": ("project_slug", "backend", "name of a Python module"),
    "chat": ("project_slug", "chat", "name of a Python module"),
    "realtime": ("project_slug", "realtime", "name of a Python module"),
    "accounts": ("project_slug", "accounts", "name of a Python module"),
    "django": ("project_slug", "django", "name of a Python module"),
    "channels": ("project_slug", "channels", "name of a Python module"),
    "test": ("project_slug", "test", "name of a Python module"),
    "json": ("project_slug", "json", "name of a Python module"),
    "derived": ("project_name", "Asyncio", "choose another, such as asyncio-backend"),
    "device": ("project_slug", "com1", "cannot name a folder on Windows"),
}

BY_COOKIECUTTER = {
    "choice": ("database", "oracle", "the choices are ['sqlite', 'postgresql']"),
    "boolean": ("use_chat", "perhaps", "could not be converted to a boolean"),
    "template": ("project_name", "{{ unclosed", "unexpected end of template"),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_rendered_as_data(text: str, tmp_path: Path, venv_python: Path) -> None:
    """Everything parses, the API has the text that was given, and nothing is executed."""
    done = render(
        tmp_path, project_name=text, description=text, author_name=text, verify_project=False
    )
    assert done.returncode == 0, done.stdout

    pyproject = tomllib.loads((done.project / "pyproject.toml").read_text("utf-8"))
    assert pyproject["project"]["name"] == done.project.name
    assert pyproject["project"]["description"] == text
    assert pyproject["project"]["authors"] == [{"name": text}]
    assert text in (done.project / "LICENSE").read_text("utf-8")

    command = [venv_python, "manage.py", "spectacular", "--validate", "--fail-on-warn"]
    schema = run([*command, "--format", "openapi-json"], cwd=done.project, env=clean(tmp_path))
    info = json.loads(schema.stdout)["info"]
    assert (info["title"], info["description"]) == (text, text)
    assert not list(tmp_path.rglob("pwned"))
    assert not (Path.cwd() / "pwned").exists()


def test_hostile_text_passes_the_whole_verification(small: Path, tmp_path: Path) -> None:
    """Installing, checking and testing a project with every such text at once works as well."""
    write_test(small, "def test_nothing():\n    pass\n")
    text = " ".join(TEXTS.values())
    done = render(tmp_path / "out", template=small, project_name=text, description=text)
    assert done.returncode == 0, done.stdout
    assert "tests: 1 passed" in done.stdout
    assert run(["make", "help"], cwd=done.project).returncode == 0
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(("name", "text", "reason"), REFUSED.values(), ids=REFUSED)
def test_unusable_answers_are_refused_in_one_line(
    name: str, text: str, reason: str, tmp_path: Path
) -> None:
    """The line names the question, the value and the way out; nothing is left behind."""
    done = render(tmp_path, **{name: text})
    assert done.returncode == 1
    refusals = [line for line in done.stdout.splitlines() if line.startswith("Refused: ")]
    assert len(refusals) == 1, done.stdout
    assert refusals[0].startswith(f"Refused: {name if 'such as asyncio' not in reason else ''}")
    assert reason in refusals[0]
    assert not list(tmp_path.rglob("pyproject.toml"))


@pytest.mark.parametrize(("name", "text", "reason"), BY_COOKIECUTTER.values(), ids=BY_COOKIECUTTER)
def test_cookiecutter_refuses_the_rest(name: str, text: str, reason: str, tmp_path: Path) -> None:
    """What never reaches the hooks ends with Cookiecutter's own message, as the README says."""
    done = render(tmp_path, **{name: text})
    assert done.returncode != 0
    assert reason in done.stdout
    assert done.project is None


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Realtime Backend", "my-realtime-backend"),
        ("Ünïcödé 東京", "unicode-dong-jing"),
        ("🚀", "realtime-backend"),
        ("x" * 300, "x" * 40),
        ("-- Dashes --", "dashes"),
    ],
)
def test_the_slug_follows_from_the_name(name: str, slug: str, tmp_path: Path) -> None:
    """It is slugified, cut to 40 characters and never empty."""
    done = render(tmp_path, project_name=name, verify_project=False)
    assert done.project.name == slug, done.stdout


def test_no_answer_reaches_the_code(tmp_path: Path) -> None:
    """Text answers are in the documents only: no Python, Docker or compose file has one."""
    answers = {"project_name": "Zork One", "description": "Zork Two", "author_name": "Zork Three"}
    project = render(tmp_path, verify_project=False, **answers).project
    holders = {name for name in files(project) if "Zork " in (project / name).read_text("utf-8")}
    assert holders == {"LICENSE", "README.md", "pyproject.toml"}


def clean(folder: Path) -> dict[str, str]:
    """The environment without what the rendered project would take for its settings."""
    return environment(folder, DATABASE_URL=None, REDIS_URL=None, DJANGO_SETTINGS_MODULE=None)


def test_the_readme_names_what_cookiecutter_refuses() -> None:
    """Each of the questions above that Cookiecutter refuses by itself is in the README."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(reason in readme for _, _, reason in BY_COOKIECUTTER.values())
