"""What every combination of answers renders, without running it."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
import tomllib
import yaml

from .files import expected_files
from .template import COMBINATIONS, OPTIONS, PROJECT, ROOT, TOOLS, files, render, run, title


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(answers, id=title(answers), marks=pytest.mark.xdist_group(title(answers)))
        for answers in COMBINATIONS
    ],
)
def combination(request: pytest.FixtureRequest) -> dict:
    """One combination of answers."""
    return request.param


@pytest.fixture(scope="module")
def project(combination: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of that combination, neither installed nor verified."""
    done = render(tmp_path_factory.mktemp("out"), verify_project=False, **combination)
    assert done.returncode == 0, done.stdout
    return done.project


def test_exactly_the_expected_files_are_rendered(project: Path, combination: dict) -> None:
    """No file appears or disappears unseen."""
    assert files(project) == expected_files(combination)


def test_no_marker_of_the_template_is_left(project: Path) -> None:
    """Nothing between template delimiters speaks of Cookiecutter, and no path has a delimiter."""
    for name in files(project):
        assert "{" not in name
        text = (project / name).read_text("utf-8")
        assert not re.search(r"\{[{%#][^{}]*cookiecutter\b", text), name
        assert "{% raw" not in text, name


def test_every_file_parses(project: Path) -> None:
    """Python, JSON, YAML and TOML files are what their names say."""
    parsers = {
        ".json": json.loads,
        ".py": ast.parse,
        ".toml": tomllib.loads,
        # Without making objects of it: Compose has tags of its own.
        ".yaml": yaml.compose,
        ".yml": yaml.compose,
    }
    for name in files(project):
        parse = parsers.get(Path(name).suffix)
        if parse:
            assert parse((project / name).read_text("utf-8")) is not False, name


def test_text_files_end_in_one_newline(project: Path) -> None:
    """Conditions of the template leave no blank lines at the end and no blanks in line ends."""
    for name in files(project):
        text = (project / name).read_text("utf-8")
        assert text == "" or (text.endswith("\n") and not text.endswith("\n\n")), name
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), name


def test_python_is_formatted_and_clean(project: Path) -> None:
    """The rendered code passes ruff, formatter and linter, as it is."""
    for command in (["format", "--check"], ["check"]):
        done = run([TOOLS / "ruff", *command, "--no-cache", project])
        assert done.returncode == 0, done.stdout


def test_the_dockerfile_is_clean(project: Path) -> None:
    """Hadolint finds nothing to complain of."""
    done = run([TOOLS / "hadolint", project / "Dockerfile"])
    assert done.returncode == 0, done.stdout


def test_every_service_is_bounded(project: Path, combination: dict) -> None:
    """Each has a health check, limits and no right that it does not need; few are reachable."""
    stack = yaml.safe_load((project / "docker-compose.yml").read_text("utf-8"))
    services = stack["services"]
    reachable = {"nginx"} if combination["use_nginx"] else {"backend", "wsgi"}
    assert {name for name, service in services.items() if "ports" in service} == reachable
    for name, service in services.items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert name == "migrate" or service["restart"] == "unless-stopped", name
        assert name == "migrate" or service["deploy"]["resources"]["limits"]["memory"], name
        # PostgreSQL's own image starts as root, and writes where it likes.
        assert name == "postgres" or (service["read_only"] and service["cap_drop"] == ["ALL"]), name
        # What clients send may fill these, and counts as memory.
        filled = ("/tmp", "/var/cache/nginx")  # nosec B108: folders in a container
        for volume in service["volumes"]:
            if isinstance(volume, dict) and volume["target"] in filled:
                assert volume["tmpfs"]["size"], name
        own = {"migrate", "backend", "sockets", "wsgi"}  # the image has a health check
        assert name in own or service["healthcheck"]["test"], name
    secrets = re.findall(r"\$\{(\w*(?:SECRET|PASSWORD)\w*)(:\?)?", str(services))
    assert {name for name, required in secrets if required} == {name for name, _ in secrets}


def test_there_is_one_nginx_conf(project: Path, combination: dict) -> None:
    """No answer changes it, so that what its tests show holds for every combination."""
    if combination["use_nginx"]:
        assert (project / "nginx.conf").read_text() == (PROJECT / "nginx.conf").read_text()


def test_workflows_are_correct_and_safe(project: Path) -> None:
    """The rendered project's own CI passes actionlint and zizmor."""
    workflows = sorted(project.glob(".github/workflows/*.yml"))
    assert workflows
    done = run([TOOLS / "actionlint", *workflows])
    assert done.returncode == 0, done.stdout
    done = run([TOOLS / "zizmor", "--offline", "--quiet", project / ".github"])
    assert done.returncode == 0, done.stdout


def test_the_python_version_changes_no_code(tmp_path: Path) -> None:
    """What is seen on one version of Python holds for the same answers with another."""
    newest, *others = OPTIONS["python_version"]
    first = render(tmp_path / newest, verify_project=False, python_version=newest).project
    for version in others:
        second = render(tmp_path / version, verify_project=False, python_version=version).project
        differing = {
            name
            for name in files(first)
            if (first / name).read_text() != (second / name).read_text()
        }
        # The second has a .env with secrets of its own.
        assert differing == {
            ".env",
            ".github/workflows/ci.yml",
            "Dockerfile",
            "Makefile",
            "README.md",
            "pyproject.toml",
        }


def test_git_that_converts_line_ends_breaks_nothing(tmp_path: Path) -> None:
    """With `core.autocrlf=true`, as on Windows, the template and a project of it still run."""
    git = ["git", "-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    clone = tmp_path / "clone"
    converting = ["clone", "--quiet", "--config", "core.autocrlf=true"]
    run([*git, *converting, ROOT, clone]).check_returncode()
    shutil.copy(ROOT / ".gitattributes", clone)
    run([*git, "rm", "--quiet", "--cached", "-r", "."], cwd=clone).check_returncode()
    run([*git, "reset", "--quiet", "--hard"], cwd=clone).check_returncode()
    project = render(tmp_path / "out", template=clone, verify_project=False).project
    for arguments in (["init"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        run([*git, *arguments], cwd=project).check_returncode()
    again = tmp_path / "again"
    run([*git, *converting, project, again]).check_returncode()
    for folder in (clone, project, again):
        for name in run(["git", "ls-files"], cwd=folder).stdout.splitlines():
            content = (folder / name.strip('"')).read_bytes()
            assert b"\0" in content or b"\r\n" not in content, name
    assert (again / "manage.py").read_text().startswith("#!/usr/bin/env python\n")
