"""Settings of the test suite: those of production, independent of `.env`, made fast."""

import os

os.environ.update(
    ENV_FILE=os.devnull,
    DEBUG="false",
    HTTPS="false",
    SECRET_KEY="only-the-tests-use-this-key-which-is-long-enough-for-them",
    ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
    REGISTRATION_OPEN="true",
)
{%- if cookiecutter.database == "postgresql" %}
# conftest.py starts a server where none answers.
os.environ.setdefault("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
{%- else %}
os.environ.setdefault("DATABASE_URL", "sqlite:///test.sqlite3")
{%- endif %}

from backend.settings import *
from backend.settings import BASE_DIR, CHANNEL_LAYERS, DATABASES, REDIS_URLS, REST_FRAMEWORK

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Requests are counted in one process and, but for the tests of the throttles, never refused.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"] = dict.fromkeys(REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"])

if REDIS_URLS:
    # Processes of pytest-xdist share the Redis, but not the users that the groups are named after.
    CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] = os.environ.get("PYTEST_XDIST_WORKER", "test")

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
    DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"
