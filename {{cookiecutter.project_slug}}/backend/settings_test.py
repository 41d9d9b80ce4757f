"""Settings of the test suite: those of production, made fast, whatever the caller has exported.

`TEST_DATABASE_URL` and `TEST_REDIS_URL` name what is there for tests. Nothing else of the caller's
environment gets here, least of all the database and the Redis that somebody works with.
"""

import os
from secrets import token_hex
from unittest.mock import patch

ENVIRONMENT = {
    "ENV_FILE": os.devnull,
    "HTTPS": "false",
    "SECRET_KEY": "only-the-tests-use-this-key-which-is-long-enough-for-them",
    "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
{%- if cookiecutter.database == "postgresql" %}
    # Without one for tests, conftest.py starts a server and puts it in the place of this.
    "DATABASE_URL": os.environ.get("TEST_DATABASE_URL") or "postgres://tests@nowhere.invalid/tests",
{%- else %}
    "DATABASE_URL": os.environ.get("TEST_DATABASE_URL") or "sqlite:///test.sqlite3",
{%- endif %}
    "REDIS_URL": os.environ.get("TEST_REDIS_URL", ""),
}

with patch.dict(os.environ, ENVIRONMENT, clear=True):
    from backend.settings import *
    from backend.settings import (
        BASE_DIR,
        CHANNEL_LAYERS,
        DATABASES,
        INSTALLED_APPS,
        REDIS_URLS,
        REST_FRAMEWORK,
    )

# It has the command that empties the database.
INSTALLED_APPS = [*INSTALLED_APPS, "backend.tests"]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Requests are counted in one process and, but for the tests of the throttles, never refused.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"] = dict.fromkeys(REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"])

if REDIS_URLS:
    # Others may use the Redis too. Processes that a test starts inherit the name of its run; those
    # of pytest-xdist do not share the users that the groups are named after.
    run = os.environ.setdefault("TEST_RUN", token_hex(4))
    prefix = f"test-{run}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] = prefix

# Static files straight from the apps, so that nothing has to be collected first.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, since other threads and processes could not see a database in memory.
    DATABASES["default"]["TEST"] = {"NAME": str(BASE_DIR / "test.sqlite3")}
    DATABASES["default"]["OPTIONS"]["init_command"] = (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
    )
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # What a test has written need not survive a crash of the server.
    options = DATABASES["default"]["OPTIONS"]
    options["options"] = f"{options.get('options', '')} -c synchronous_commit=off".strip()
