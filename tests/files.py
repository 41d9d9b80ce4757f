"""The files that a rendered project consists of."""

from pathlib import PurePosixPath

# folder -> its files
ALWAYS = {
    ".": """
        .dockerignore .editorconfig .env .env.example .gitattributes .gitignore
        .pre-commit-config.yaml AGENTS.md Dockerfile LICENSE Makefile README.md api.http
        api.http.example asyncapi.yaml conftest.py
        docker-compose.yml docker-stack.yml manage.py pyproject.toml requirements-dev.in
        requirements-dev.txt requirements.in requirements.txt
    """,
    ".github": "dependabot.yml",
    ".github/workflows": "ci.yml template.yml",
    "accounts": """
        __init__.py admin.py apps.py authentication.py checks.py fields.py hashers.py models.py
        serializers.py signals.py throttles.py tokens.py urls.py views.py
    """,
    "accounts/management": "__init__.py",
    "accounts/management/commands": "__init__.py token.py",
    "accounts/migrations": "0001_user.py 0002_user_manager.py __init__.py",
    "accounts/tests": """
        __init__.py test_admin.py test_checks.py test_me.py test_registration.py test_revocation.py
        test_throttles.py test_token_command.py test_token_endpoints.py test_tokens.py
    """,
    "backend": """
        __init__.py asgi.py database.py database_url.py environment.py errors.py health.py
        installation.py local_files.py masking.py parsers.py policy.py redis_urls.py requests.py
        schema.py settings.py settings_test.py urls.py wsgi.py
    """,
    "backend/templates/drf_spectacular": "redoc.html swagger_ui.html",
    "backend/tests": """
        __init__.py test_errors.py test_headers.py test_health.py test_local_files.py
        test_masking.py test_migrations.py test_requests.py test_schema.py test_settings.py
        test_urls.py
    """,
    "backend/tests/management": "__init__.py",
    "backend/tests/management/commands": "__init__.py flush.py",
    "realtime": """
        __init__.py admin.py apps.py bus.py checks.py close_codes.py connection.py consumers.py
        database.py feed.py fields.py frames.py http.py hub.py metrics.py models.py notification.py
        origin.py other_servers.py presence.py retention.py routing.py serializers.py server.py
        sessions.py streams.py tickets.py urls.py views.py
    """,
    "realtime/management": "__init__.py",
    "realtime/management/commands": """
        __init__.py notify.py renew_epochs.py runserver.py trim_streams.py
    """,
    "realtime/migrations": """
        0001_initial.py 0002_ticket.py 0003_connection.py 0004_subscriptions.py
        0005_payload_as_text.py __init__.py
    """,
    "realtime/static/realtime": "client.js",
    "realtime/tests": """
        __init__.py conftest.py frames_schema.py sockets.py test_commands.py test_consumers.py
        test_frames.py test_http.py test_hub.py test_libraries.py test_recheck.py test_server.py
        test_sessions.py test_streams.py test_subscriptions.py test_tickets.py waiters.py
    """,
}

# (question, answer) -> what this answer adds
ADDED = {
    ("database", "postgresql"): {
        "backend": "postgres.py",
        "backend/tests": "test_postgres.py",
    },
    ("use_chat", True): {
        "chat": """
            __init__.py admin.py apps.py consumers.py membership.py messages.py models.py routing.py
            serializers.py urls.py views.py
        """,
        "chat/migrations": "0001_rooms.py 0002_payload_as_text.py __init__.py",
        "chat/static/chat": "page.css page.js",
        "chat/templates/chat": "page.html",
        "chat/tests": """
            __init__.py conftest.py test_admin.py test_membership.py test_messages.py test_page.py
            test_rooms.py test_sockets.py test_subscriptions.py
        """,
    },
    ("use_nginx", True): {
        ".": "nginx.conf",
    },
}


def expected_files(combination: dict) -> set[str]:
    """Return the files of a project that was rendered with these answers."""
    tables = [ALWAYS]
    tables += [table for (name, answer), table in ADDED.items() if combination[name] == answer]
    return {
        str(PurePosixPath(folder, name))
        for table in tables
        for folder, names in table.items()
        for name in names.split()
    }
