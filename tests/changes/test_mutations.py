"""What a user may break in a rendered project, and whether its own tests notice.

Each mutation is one change that looks harmless. The tests of the project that has it must fail.
"""

import os
import shutil
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest

from ..template import environment, python_with, render, run

APPS = ("accounts", "backend", "chat", "realtime")


class Mutation(NamedTuple):
    """In a file, one text in the place of another, and what is broken by that."""

    broken: str
    file: str
    old: str
    new: str


MUTATIONS = [
    # Accounts
    Mutation(
        "a route has another name",
        "accounts/urls.py",
        'path("users/me/", ',
        'path("users/self/", ',
    ),
    Mutation(
        "a logout ends no access token",
        "accounts/tokens.py",
        "if token.get(VERSION_CLAIM) != user.token_version:",
        "if VERSION_CLAIM not in token:",
    ),
    Mutation(
        "tokens of a deactivated user are good",
        "accounts/tokens.py",
        "if not user.is_active:",
        "if user is None:",
    ),
    Mutation(
        "a refresh token can be used twice",
        "accounts/tokens.py",
        "if not is_first_use:",
        "if token is None:",
    ),
    Mutation(
        "a new password leaves the tokens as they are",
        "accounts/models.py",
        "return self.password != password or (is_active and not self.is_active)",
        "return is_active and not self.is_active",
    ),
    Mutation(
        "sockets hear of a logout before it is committed",
        "accounts/signals.py",
        "transaction.on_commit(send, using=using, robust=True)",
        "send()",
    ),
    Mutation(
        "anyone registers where registration is closed",
        "accounts/views.py",
        "permission_classes = [RegistrationIsOpen]",
        "permission_classes = [AllowAny]",
    ),
    Mutation(
        "passwords can be tried without end",
        "accounts/views.py",
        "throttle_classes = [throttles.TokenThrottle, throttles.TokenUserThrottle]",
        "throttle_classes = []",
    ),
    Mutation(
        "a stolen token is enough for a new password",
        "accounts/serializers.py",
        'if not self.context["request"].user.check_password(password):',
        "if not password:",
    ),
    Mutation(
        "users can make themselves staff",
        "accounts/serializers.py",
        '["id", "username", "email", "first_name", "last_name", "date_joined"]',
        '["id", "username", "email", "first_name", "last_name", "date_joined", "is_staff"]',
    ),
    Mutation(
        "two users have one address",
        "accounts/models.py",
        'Lower("email"),\n                condition=~Q(email=""),',
        'Lower("email"),\n                condition=Q(email=""),',
    ),
    Mutation(
        "the admin page of users is Django's own",
        "accounts/admin.py",
        "@admin.register(User)\nclass UserAdmin(DjangoUserAdmin):",
        "admin.site.register(User, DjangoUserAdmin)\n\n\nclass UserAdmin(DjangoUserAdmin):",
    ),
    Mutation(
        "who is deactivated in the admin pages keeps the tokens",
        "accounts/admin.py",
        'user.is_active = False\n            user.save(update_fields=["is_active"])',
        "User.objects.filter(pk=user.pk).update(is_active=False)",
    ),
    # Settings
    Mutation(
        "whoever forgets to name a permission lets everybody in",
        "backend/settings.py",
        '"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"]',
        '"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"]',
    ),
    Mutation(
        "a user may change things without end",
        "backend/settings.py",
        '"DEFAULT_THROTTLE_CLASSES": ["accounts.throttles.WriteThrottle"]',
        '"DEFAULT_THROTTLE_CLASSES": []',
    ),
    Mutation(
        "production does without HTTPS",
        "backend/settings.py",
        'HTTPS = env.bool("HTTPS", default=not DEBUG)',
        'HTTPS = env.bool("HTTPS", default=DEBUG)',
    ),
    Mutation(
        "registration is closed by default",
        "backend/settings.py",
        'REGISTRATION_OPEN = env.bool("REGISTRATION_OPEN", default=True)',
        'REGISTRATION_OPEN = env.bool("REGISTRATION_OPEN", default=False)',
    ),
    Mutation(
        "access tokens live for a day",
        "backend/settings.py",
        '"ACCESS_TOKEN_MINUTES", default=15',
        '"ACCESS_TOKEN_MINUTES", default=1500',
    ),
    Mutation(
        "forwarded headers are believed from anyone",
        "backend/settings.py",
        'TRUST_PROXY = env.bool("TRUST_PROXY", default=False)',
        'TRUST_PROXY = env.bool("TRUST_PROXY", default=True)',
    ),
    Mutation(
        "pages come without a content security policy",
        "backend/settings.py",
        '    "backend.policy.PolicyMiddleware",\n',
        "",
    ),
    Mutation(
        "tokens stand in the log",
        "backend/settings.py",
        '            "filters": ["mask"],\n',
        "",
    ),
    Mutation(
        "passwords stand in the log",
        "backend/masking.py",
        '"token|ticket|access|refresh|password|sessionid"',
        '"token|ticket|access|refresh|sessionid"',
    ),
    Mutation(
        "passwords are hashed in another way",
        "backend/settings.py",
        '    "accounts.hashers.PasswordHasher",\n',
        "",
    ),
    # Other pages
    Mutation(
        "a process without its database says that it is ready",
        "backend/health.py",
        "status=200 if is_ready else 503",
        "status=200",
    ),
    Mutation(
        "the documentation of the API has moved",
        "backend/urls.py",
        'path(\n        "api/docs/",',
        'path(\n        "api/documentation/",',
    ),
    Mutation(
        "a model was changed without a migration",
        "chat/models.py",
        "read = models.PositiveBigIntegerField(",
        "read = models.PositiveIntegerField(",
    ),
    Mutation(
        "a migration is incomplete",
        "realtime/migrations/0003_connection.py",
        "'process', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE",
        "'owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE",
    ),
    # Streams
    Mutation(
        "events are told of before they are committed",
        "realtime/streams.py",
        "transaction.on_commit(partial(publisher.publish, hints), using=alias, robust=True)",
        "publisher.publish(hints)",
    ),
    Mutation(
        "signals are told of before what they belong to is committed",
        "realtime/streams.py",
        "if connection.in_atomic_block:",
        "if connection is None:",
    ),
    Mutation(
        "an event may have the protocol's own keys",
        "realtime/streams.py",
        "text = check_payload(payload)\n    entry = ",
        "text = encode(payload)\n    entry = ",
    ),
    Mutation(
        "a client gets the last event that it has once more",
        "realtime/streams.py",
        "item for item in texts[pk] if item[0] > seq",
        "item for item in texts[pk] if item[0] >= seq",
    ),
    Mutation(
        "a page over REST begins with what the client has",
        "realtime/views.py",
        "stream=stream.pk, seq__gt=since",
        "stream=stream.pk, seq__gte=since",
    ),
    Mutation(
        "the newest events are trimmed",
        "realtime/retention.py",
        "rows.filter(seq__lte=row.head - entries)",
        "rows.filter(seq__gt=row.head - entries)",
    ),
    Mutation(
        "a trimmed stream does not know what it has lost",
        "realtime/retention.py",
        "stream._default_manager.using(alias).filter(pk=pk).update(trimmed=last)",
        "stream._default_manager.using(alias).filter(pk=pk).update(trimmed=0)",
    ),
    # Sockets
    Mutation(
        "a position of another history is continued",
        "realtime/feed.py",
        "epoch == self.epoch\n            and self._trimmed <= since <= self._head",
        "self._trimmed <= since <= self._head",
    ),
    Mutation(
        "an event is left out of a replay",
        "realtime/feed.py",
        "self.seq = since\n",
        "self.seq = since + 1\n",
    ),
    Mutation(
        "an event is delivered twice",
        "realtime/feed.py",
        'elif hint["seq"] == self.last + 1 and self._reader is None:',
        'elif hint["seq"] <= self.last + 1 and self._reader is None:',
    ),
    Mutation(
        "who cannot continue is not told",
        "realtime/feed.py",
        "if self._needs_reset:",
        "if self.seq < 0:",
    ),
    Mutation(
        "who follows is not told of a new history",
        "realtime/feed.py",
        "            self._send(reset_frame(self.epoch, self.last))\n",
        "",
    ),
    Mutation(
        "a logout leaves sockets open",
        "realtime/apps.py",
        'access_revoked.connect(_close_sockets, dispatch_uid="realtime.close_sockets")',
        "access_revoked.disconnect(_close_sockets)",
    ),
    Mutation(
        "a socket outlives its token",
        "realtime/consumers.py",
        "loop.call_later(max(0.0, seconds), self.end, CloseCode.NOT_AUTHENTICATED)",
        "loop.call_later(max(3600.0, seconds), self.end, CloseCode.NOT_AUTHENTICATED)",
    ),
    Mutation(
        "a fresh token of somebody else is taken",
        "realtime/consumers.py",
        "if access.user.pk != self.user.pk:",
        "if access.user.pk is None:",
    ),
    Mutation(
        "pages of other sites may open sockets",
        "realtime/origin.py",
        "return parsed_origin is None or self.validate_origin(parsed_origin)",
        "return parsed_origin is None or bool(parsed_origin)",
    ),
    Mutation(
        "a user may have any number of sockets",
        "realtime/sessions.py",
        "elif count[session.user_id] < settings.REALTIME_SOCKETS_PER_USER:",
        "elif count[session.user_id] >= 0:",
    ),
    Mutation(
        "frames of a subscription do not name its stream",
        "realtime/consumers.py",
        "self._hub.follow(self, stream, name)",
        "self._hub.follow(self, stream)",
    ),
    Mutation(
        "a subscription takes the place of a socket",
        "realtime/hub.py",
        "                is_socket=False,\n",
        "",
    ),
    Mutation(
        "a socket may have any number of subscriptions",
        "realtime/consumers.py",
        "followed < settings.REALTIME_SUBSCRIPTIONS_PER_SOCKET",
        "followed >= 0",
    ),
    Mutation(
        "an event stream outlives its token",
        "realtime/http.py",
        "loop.call_later(max(0.0, left), self.end, CloseCode.NOT_AUTHENTICATED)",
        "loop.call_later(max(3600.0, left), self.end, CloseCode.NOT_AUTHENTICATED)",
    ),
    Mutation(
        "over HTTP strangers are told of every stream",
        "realtime/views.py",
        "if refused.code is CloseCode.NOT_ALLOWED:",
        "if refused.code:",
    ),
    Mutation(
        "a ticket opens more than one socket",
        "realtime/tickets.py",
        "stored.filter(used=False, created_at__gt=",
        "stored.filter(created_at__gt=",
    ),
    Mutation(
        "tickets are sold without end",
        "realtime/views.py",
        "throttle_classes = [TicketThrottle]",
        "throttle_classes = []",
    ),
    Mutation(
        "a stopping server closes with another code",
        "realtime/close_codes.py",
        "GOING_AWAY = 4412",
        "GOING_AWAY = 4410",
    ),
    Mutation(
        "the admin pages let events be changed",
        "realtime/admin.py",
        '"""Nobody changes."""\n        return False',
        '"""Nobody changes."""\n        return True',
    ),
    # Chat
    Mutation(
        "the sockets of rooms have another path",
        "chat/routing.py",
        'path("ws/chat/<slug:slug>/"',
        'path("ws/rooms/<slug:slug>/"',
    ),
    Mutation(
        "private rooms are listed for everybody",
        "chat/models.py",
        ".filter(Q(private=False) | Q(own__isnull=False))",
        ".filter(Q(private=False) | Q(private=True))",
    ),
    Mutation(
        "strangers hear what is said in a room",
        "chat/consumers.py",
        "if room.role is None else room",
        "if room.pk is None else room",
    ),
    Mutation(
        "strangers read what was said in a room",
        "chat/views.py",
        "if room.role is None:",
        "if room.pk is None:",
    ),
    Mutation(
        "who is no member any more may speak",
        "chat/messages.py",
        "if not Member.objects.filter(room=room, user=sender).update(read=read):",
        "if Member.objects.filter(room=room, user=sender).update(read=read) < 0:",
    ),
    Mutation(
        "who was kicked goes on hearing",
        "chat/models.py",
        "return {(room, user) for room, user in outside if room in existing}",
        "return {(room, user) for room, user in outside if room not in existing}",
    ),
    Mutation(
        "moderators kick moderators, and owners do not",
        "chat/membership.py",
        "(member.moderates and moderator.role != Role.OWNER)",
        "(member.moderates and moderator.role == Role.OWNER)",
    ),
    Mutation(
        "members change what others have said",
        "chat/messages.py",
        "if message.sender_id != editor.pk and not _moderates(room, editor):",
        "if message.sender_id is None and not _moderates(room, editor):",
    ),
    Mutation(
        "a message that is sent again is stored again",
        "chat/messages.py",
        "return _append(room, sender, payload, client_id=client_id), True",
        "return _append(room, sender, payload), True",
    ),
    Mutation(
        "nobody hears who is online",
        "realtime/presence.py",
        "for user_id in before.keys() ^ now.keys():",
        "for user_id in set[int]():",
    ),
    Mutation(
        "the room of an owner who leaves has none",
        "chat/membership.py",
        "if instance.role == Role.OWNER:",
        "if instance.role == Role.MODERATOR:",
    ),
]
# What SQLite, which locks the whole file, cannot show.
LOCKS = [
    Mutation(
        "the members of a room change while somebody else changes them",
        "chat/membership.py",
        "Room.objects.select_for_update().filter(pk=room_id)",
        "Room.objects.filter(pk=room_id)",
    ),
]


class Project:
    """A rendered project, one file of which is another for as long as its tests run."""

    def __init__(self, folder: Path, **answers: str) -> None:
        self.folder = render(folder, verify_project=False, **answers).project
        self.python = python_with(self.folder / "requirements-dev.txt")
        self.environment = environment(folder, PYTHONDONTWRITEBYTECODE=None)
        done = self.test(*APPS)
        assert done.returncode == 0, done.stdout
        # What is compiled now serves every later run, and nothing of theirs is kept.
        self.environment["PYTHONDONTWRITEBYTECODE"] = "1"

    def test(self, *apps: str) -> CompletedProcess[str]:
        """Run its tests, app by app, up to the first one that fails."""
        command = [self.python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *apps]
        return run(command, cwd=self.folder, env=self.environment)

    def test_with(self, mutation: Mutation) -> CompletedProcess[str]:
        """Run its tests with a mutation, beginning with those that are nearest to it."""
        path = self.folder / mutation.file
        text = path.read_text("utf-8")
        assert text.count(mutation.old) == 1, f"{mutation.file} does not have {mutation.old!r} once"
        whole = path.with_name(f"{path.name}.whole")
        shutil.copy2(path, whole)
        try:
            path.write_text(text.replace(mutation.old, mutation.new), "utf-8")
            # As nothing else is: what is compiled of it is known by its time and size.
            os.utime(path, times=(time.time() + 10,) * 2)
            app, *_, name = Path(mutation.file).parts
            first = Path(app, "tests", f"test_{name}")
            modules = [str(first)] if (self.folder / first).exists() else []
            return self.test(*modules, app, *(other for other in APPS if other != app))
        finally:
            whole.replace(path)


@pytest.fixture(scope="module")
def sqlite_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project of the default answers, whose tests pass."""
    return Project(tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def postgresql_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same on PostgreSQL."""
    return Project(tmp_path_factory.mktemp("out"), database="postgresql")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.broken)
def test_the_projects_tests_notice(mutation: Mutation, sqlite_project: Project) -> None:
    """One of them fails; none is needed for what does not even start."""
    done = sqlite_project.test_with(mutation)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout


@pytest.mark.parametrize("mutation", LOCKS, ids=lambda mutation: mutation.broken)
def test_they_notice_on_postgresql(mutation: Mutation, postgresql_project: Project) -> None:
    """One of them fails where the database has locks of rows."""
    done = postgresql_project.test_with(mutation)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
