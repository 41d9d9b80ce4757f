"""Each functional combination, built and run as its README says."""

import contextlib
import gzip
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..template import FUNCTIONAL, render, title
from .deployment import Deployment, next_event

BUDGET_BYTES = 350_000_000
MISTAKE = """
from django.db import migrations


def fail(apps, schema_editor):
    raise RuntimeError("that was a mistake")


class Migration(migrations.Migration):
    dependencies = [("accounts", "NEWEST")]
    operations = [migrations.RunPython(fail)]
"""


@pytest.mark.parametrize("answers", FUNCTIONAL, ids=title)
def test_deployment(answers: dict, tmp_path: Path) -> None:
    """Every combination does all of this, one after the other, in containers of its own."""
    with deployed(answers, tmp_path) as deployment:
        files_are_clean(deployment)
        event_crosses_containers(deployment)
        several_daphnes(deployment, answers["use_nginx"])
        a_mistake_stops_nothing(deployment, answers["use_nginx"])
        data_outlives_the_containers(deployment, answers["use_nginx"])
        backup_and_restore(deployment, answers["database"])
        image_is_small(deployment)
        image_holds_no_secret(deployment)
        image_runs_read_only_as_anyone(deployment)


@contextlib.contextmanager
def deployed(answers: dict, folder: Path) -> Iterator[Deployment]:
    """Render a project, under a strict umask, and bring it up; nothing of it is left afterwards."""
    slug = "docker-" + title(answers).replace("_", "-").replace(".", "-")
    done = render(folder, verify_project=False, **answers, project_slug=slug)
    assert done.returncode == 0, done.stdout
    deployment = Deployment(done.project)
    deployment.command("chmod", "--recursive", "go=", ".")
    try:
        deployment.make("up")
        deployment.register("alice")
        yield deployment
    finally:
        deployment.compose("down", "--volumes", "--rmi", "local", "--timeout", "5")


def files_are_clean(deployment: Deployment) -> None:
    """Compose finds nothing to complain of, and neither does a swarm in what it is given."""
    assert "warn" not in deployment.compose("--profile", "*", "config", "--quiet").lower()
    _, deploys = deployment.make("--dry-run", "deploy").split("docker compose build\n")
    checks = re.sub(r"docker stack deploy .*", "docker stack config --compose-file -", deploys)
    url = "redis+sentinel://:secret@one:26379,two:26379/mymaster/0"
    variables = {"EXTERNAL_REDIS_URL": url, "COMPOSE_PROFILES": "sockets"}
    ports = {"HTTP_PORT": "8000", "WSGI_PORT": "8001"}
    printed = deployment.command("sh", "-ec", checks, **variables, **ports)
    assert f" REDIS_URL: {url}\n" in printed


def event_crosses_containers(deployment: Deployment) -> None:
    """Who has logged in gets over a socket of `backend` what the container `wsgi` sends."""
    with deployment.socket(deployment.log_in("alice")) as ws:
        assert next_event(ws)["type"] == "realtime.ready"
        deployment.manage("notify", "alice", '{"message": "hi"}')
        assert next_event(ws)["message"] == "hi"


def several_daphnes(deployment: Deployment, use_nginx: bool) -> None:
    """With nginx three Daphnes serve sockets of one user, and two go on when one is killed."""
    if not use_nginx:
        assert "No rule to make target" in deployment.refused("scale", "n=3")
        return
    deployment.make("scale", "n=3")
    token = deployment.log_in("alice")

    def three() -> bool:
        with contextlib.ExitStack() as sockets:
            opened = [sockets.enter_context(deployment.socket(token)) for _ in range(6)]
            for ws in opened:
                next_event(ws)
            deployment.manage("notify", "alice", '{"message": "to all"}')
            assert all(next_event(ws)["message"] == "to all" for ws in opened)
        return len(deployment.upstreams()) >= 3

    deployment.until(three)
    containers = deployment.compose("ps", "--quiet", "backend").split()
    assert len(containers) == 3
    deployment.command("docker", "kill", containers[-1])
    # Attempts may meet nginx while it still believes in the one that is gone.
    deployment.until(lambda: all(deployment.opens(token) for _ in range(4)))
    with deployment.socket(token) as ws:
        next_event(ws)
        deployment.manage("notify", "alice", '{"message": "still there"}')
        assert next_event(ws)["message"] == "still there"
    assert "make scale n=3" in deployment.refused("scale", "n=0")


def a_mistake_stops_nothing(deployment: Deployment, use_nginx: bool) -> None:
    """A migration that fails ends `make up`, and so does a bad nginx.conf; a good one is taken."""
    before = set(deployment.compose("ps", "--quiet", "backend", "wsgi").split())
    migration = deployment.project / "accounts" / "migrations" / "9999_mistake.py"
    newest = max(path.stem for path in migration.parent.glob("0*.py"))
    migration.write_text(MISTAKE.replace("NEWEST", newest))
    assert "that was a mistake" in deployment.refused("up")
    migration.unlink()
    if use_nginx:
        deployment.change("nginx.conf", "keepalive 32;", "keepalive many;")
        assert 'invalid value "many"' in deployment.refused("up")
    assert set(deployment.compose("ps", "--quiet", "backend", "wsgi").split()) == before
    assert deployment.answers()
    if use_nginx:
        deployment.change("nginx.conf", "keepalive many;", "keepalive 33;")
        container = deployment.compose("ps", "--quiet", "nginx")
        deployment.make("up")
        assert deployment.compose("ps", "--quiet", "nginx") != container


def backup_and_restore(deployment: Deployment, database: str) -> None:
    """A restore brings back what was there and forgets the rest, in a new epoch."""
    backup = deployment.project / "a backup"
    deployment.make("backup", f"file={backup}")
    assert backup.stat().st_mode & 0o077 == 0
    with deployment.socket(deployment.log_in("alice")) as ws:
        before = next_event(ws)
    deployment.register("mallory")
    deployment.manage("notify", "alice", '{"message": "from a future that is lost"}')

    (deployment.project / "bad").write_text("no backup")
    assert "Error" in deployment.refused("restore", "file=bad")
    assert "make restore file=" in deployment.refused("restore", "file=missing")
    # A database whose tables are not those that its history of migrations speaks of.
    deployment.manage("migrate", "--fake", "accounts", "zero")
    deployment.make("backup", "file=other")
    deployment.manage("migrate", "--fake")
    assert "already exists" in deployment.refused("restore", "file=other")
    assert deployment.log_in("mallory")
    if database == "postgresql":
        deployment.environment["EXTERNAL_DATABASE_URL"] = "postgres://app@elsewhere:5432/app"
        assert "EXTERNAL_DATABASE_URL" in deployment.refused("backup", "file=empty")
        assert not (deployment.project / "empty").exists()
        del deployment.environment["EXTERNAL_DATABASE_URL"]

    deployment.make("restore", f"file={backup}")
    assert "starting" not in deployment.compose("ps")
    token = deployment.log_in("alice")
    deployment.until(lambda: deployment.opens(token))
    with deployment.socket(token) as ws:
        after = next_event(ws)
    assert after["seq"] == before["seq"]
    assert after["epoch"] != before["epoch"]
    status, _ = deployment.request("/api/token/", {"username": "mallory", "password": "x"})
    assert status == 401


def data_outlives_the_containers(deployment: Deployment, use_nginx: bool) -> None:
    """After `make down` and `make up` the users are there; sockets have their own Daphne now."""
    deployment.make("down")
    assert not deployment.compose("ps", "--all", "--quiet")
    if use_nginx:
        deployment.environment["COMPOSE_PROFILES"] = "sockets"
        line = "server backend:8000 resolve;  # or "
        deployment.change("nginx.conf", line, line.replace("backend", "sockets"))
    deployment.change("manage.py", "if __name__ ==", "# another version\nif __name__ ==")
    built = deployment.make("up")
    # What is installed comes from the build before.
    assert re.search(r"#(\d+) \[build .*RUN .*\n#\1 CACHED\n", built), built
    token = deployment.log_in("alice")
    deployment.until(lambda: deployment.opens(token))
    with deployment.socket(token) as ws:
        next_event(ws)
        deployment.manage("notify", "alice", '{"message": "elsewhere"}')
        assert next_event(ws)["message"] == "elsewhere"
    if use_nginx:
        assert deployment.upstreams() == {deployment.upstream("sockets")}


def image_is_small(deployment: Deployment) -> None:
    """It keeps to the budget that the project's CI enforces."""
    size = int(
        deployment.command("docker", "image", "inspect", "--format", "{{.Size}}", deployment.image)
    )
    print(f"\n{deployment.image}: {size / 1e6:.0f} MB")
    assert size <= BUDGET_BYTES
    workflow = (deployment.project / ".github/workflows/ci.yml").read_text()
    assert f'"$bytes" -le {BUDGET_BYTES}' in workflow


def image_holds_no_secret(deployment: Deployment) -> None:
    """No layer and no command of its history holds a secret of .env."""
    secrets = deployment.secrets()
    assert len(secrets) >= 2
    with (
        deployment.saved_image() as saving,
        tarfile.open(fileobj=saving.stdout, mode="r|") as archive,
    ):
        for member in archive:
            file = archive.extractfile(member)
            content = file.read() if file else b""
            if content.startswith(b"\x1f\x8b"):
                content = gzip.decompress(content)
            assert not any(secret in content for secret in secrets), member.name


def image_runs_read_only_as_anyone(deployment: Deployment) -> None:
    """It needs neither a file system that it may write to nor a certain user."""
    deployment.command(
        *("docker", "run", "--rm", "--read-only", "--user", "12345:12345"),
        *("--env", f"SECRET_KEY={'k3Yz-' * 12}", "--env", "ALLOWED_HOSTS=example.com"),
        *("--env", "DATABASE_URL=sqlite:////tmp/unused.sqlite3"),
        *(deployment.image, "python", "manage.py", "check", "--deploy", "--fail-level", "ERROR"),
    )
