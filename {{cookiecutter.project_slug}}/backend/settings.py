"""Settings, read from the environment.

A `.env` file beside `manage.py` is read too, for development; what the environment itself says
wins. `ENV_FILE` names another file. `.env.example` lists the variables that people set most. What
cannot be used is refused when the project starts.
"""

import tomllib
from datetime import timedelta
from typing import Any

from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from backend import database_url, redis_urls
from backend.environment import BASE_DIR, Environment, UnusableSetting

env = Environment()

# Names and texts have their one place in pyproject.toml.
_PYPROJECT = tomllib.loads((BASE_DIR / "pyproject.toml").read_text("utf-8"))
PROJECT_TITLE: str = _PYPROJECT["tool"]["backend"]["title"]
PROJECT_DESCRIPTION: str = _PYPROJECT["project"]["description"]
PROJECT_VERSION: str = _PYPROJECT["project"]["version"]


# Trust

DEBUG = env.bool("DEBUG", default=False)

SECRET_KEY = env.str("SECRET_KEY")
if len(SECRET_KEY) < 50 or SECRET_KEY.startswith(("change-me", "django-insecure-")):
    raise UnusableSetting(
        "SECRET_KEY is missing, a placeholder or shorter than 50 characters. Where there is no "
        ".env, `python backend/local_files.py` writes one with a random key; else set SECRET_KEY "
        'to the output of: python -c "import secrets; print(secrets.token_urlsafe(50))"'
    )

ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [], form="host"
)
if not ALLOWED_HOSTS:
    raise UnusableSetting(
        "ALLOWED_HOSTS is empty and DEBUG is off, so that every request would be refused. "
        "Set ALLOWED_HOSTS to the host names that clients use, for example "
        "ALLOWED_HOSTS=example.com,www.example.com"
    )

# Origins are written with their scheme: https://app.example.com
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", form="origin")
# The last one resumes Server-Sent Events.
CORS_ALLOW_HEADERS = [*default_headers, "last-event-id"]
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", form="origin")
# Which pages may open sockets: origins, or hosts as in ALLOWED_HOSTS.
WEBSOCKET_ALLOWED_ORIGINS = env.list(
    "WEBSOCKET_ALLOWED_ORIGINS", default=ALLOWED_HOSTS, form="host or origin"
)

# Only behind a proxy that overwrites these headers; anyone else could forge them.
TRUST_PROXY = env.bool("TRUST_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUST_PROXY else None

# Off only where clients really come over plain HTTP.
HTTPS = env.bool("HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=HTTPS)
SESSION_COOKIE_SECURE = env.bool("SESSION_COOKIE_SECURE", default=HTTPS)
CSRF_COOKIE_SECURE = env.bool("CSRF_COOKIE_SECURE", default=HTTPS)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
# Whether these two may be on is for the owner of the whole domain to know.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# What a page may load, as far as urls.py does not allow one more; other answers load nothing.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
# What a page may not ask of the browser: everything that it would have to ask its user for.
PERMISSIONS_POLICY: dict[str, list[str]] = {
    feature: []
    for feature in (
        "accelerometer",
        "autoplay",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "hid",
        "idle-detection",
        "local-fonts",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "screen-wake-lock",
        "serial",
        "storage-access",
        "usb",
        "window-management",
        "xr-spatial-tracking",
    )
}
# What Daphne takes of any body, uploaded files included.
DAPHNE_MAX_BODY_BYTES = env.int("DAPHNE_MAX_BODY_BYTES", default=10_485_760, least=1)
DATA_UPLOAD_MAX_MEMORY_SIZE = env.int("DATA_UPLOAD_MAX_MEMORY_BYTES", default=1_048_576, least=1)


# Application

INSTALLED_APPS = [
    # Before daphne: its runserver starts the server of realtime/server.py.
    "realtime",
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "corsheaders",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
{%- if cookiecutter.use_chat %}
    "chat",
{%- endif %}
]

MIDDLEWARE = [
    # First: they look at no request, and add to every answer.
    "backend.policy.PolicyMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    # Before the next ones: a probe comes by address and plain HTTP, which they would refuse.
    "backend.health.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "backend.urls"
WSGI_APPLICATION = "backend.wsgi.application"
ASGI_APPLICATION = "backend.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "backend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True


# Static and media files

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}


# Database

# How long a writer may wait for a row, or with SQLite for the database, that another has locked:
# backend/database.py.
REALTIME_LOCK_TIMEOUT_SECONDS = env.int(
    "REALTIME_LOCK_TIMEOUT_SECONDS", default=5, least=1, most=3_600
)

DATABASES: dict[str, dict[str, Any]] = {
    # Connections that outlive a request leak under ASGI, where each request has its own thread.
    "default": database_url.parse(env.str("DATABASE_URL"))
    | {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True}
}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["NAME"] = BASE_DIR / _database["NAME"]
    _database["OPTIONS"] = {
        "timeout": REALTIME_LOCK_TIMEOUT_SECONDS,
        # A transaction that reads first and writes later could not wait for the lock.
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
elif _database["ENGINE"] == "django.db.backends.postgresql":
    _database["OPTIONS"].setdefault("connect_timeout", 5)
    # A pooler such as PgBouncer gives each transaction another connection.
    _database["DISABLE_SERVER_SIDE_CURSORS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


# Redis: the channel layer and the cache, each in memory where there is none

REDIS_URLS = redis_urls.split(env.str("REDIS_URL"))
# Before every name in Redis, whose messages know no databases: whoever shares one needs another.
REDIS_PREFIX = env.str("REDIS_PREFIX", default=_PYPROJECT["project"]["name"])

if REDIS_URLS:
    CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                "hosts": [
                    redis_urls.layer_host(
                        url,
                        socket_connect_timeout=2,
                        socket_timeout=5,
                        socket_keepalive=True,
                        health_check_interval=15,
                        retry=AsyncRetry(ExponentialWithJitterBackoff(cap=1, base=0.05), 2),
                    )
                    for url in REDIS_URLS
                ],
                "prefix": REDIS_PREFIX,
            },
        }
    }
    CACHES: dict[str, dict[str, Any]] = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            # In a list, since Django would split a string at its commas; of the first alone, since
            # others would mean its replicas.
            "LOCATION": REDIS_URLS[:1],
            "OPTIONS": {
                "pool_class": "backend.redis_urls.Pool",
                "socket_connect_timeout": 1,
                "socket_timeout": 1,
                "retry": Retry(NoBackoff(), 0),
            },
            "KEY_PREFIX": f"{REDIS_PREFIX}:cache",
        }
    }
else:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            # One channel carries the hints for every socket of the process.
            "CONFIG": {"capacity": 100_000, "expiry": 3600, "group_expiry": 10**9},
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            # Of 300, Django's own, new ones would soon push out what counts requests.
            "OPTIONS": {"MAX_ENTRIES": 10_000},
        }
    }


# Realtime: the limits are those of the README's protocol chapter

REALTIME_MAX_FRAME_BYTES = env.int("REALTIME_MAX_FRAME_BYTES", default=65_536, least=1)
REALTIME_REPLAY_LIMIT = env.int("REALTIME_REPLAY_LIMIT", default=1_000, least=1)
# Without Redis this tick is also how events of another process arrive.
REALTIME_TICK_SECONDS = env.float(
    "REALTIME_TICK_SECONDS", default=10 if REDIS_URLS else 1, least=0.01, most=86_400
)
REALTIME_BUFFER_BYTES = env.int("REALTIME_BUFFER_BYTES", default=1_048_576, least=1)
REALTIME_SOCKETS_PER_USER = env.int("REALTIME_SOCKETS_PER_USER", default=10, least=1)
REALTIME_SUBSCRIPTIONS_PER_SOCKET = env.int(
    "REALTIME_SUBSCRIPTIONS_PER_SOCKET", default=100, least=1
)
REALTIME_FRAMES_PER_SECOND = env.int("REALTIME_FRAMES_PER_SECOND", default=20, least=1)
REALTIME_FRAMES_BURST = env.int("REALTIME_FRAMES_BURST", default=60, least=1)
REALTIME_DATABASE_THREADS = env.int("REALTIME_DATABASE_THREADS", default=8, least=1, most=1_000)
REALTIME_PING_SECONDS = env.int("REALTIME_PING_SECONDS", default=20, least=1)
# Where each server process answers Prometheus; 0: nowhere.
METRICS_PORT = env.int("METRICS_PORT", default=0, most=65_535)
# What `trim_streams` keeps of each user's events; 0 means no limit.
REALTIME_RETENTION_DAYS = env.float("REALTIME_RETENTION_DAYS", default=30, most=36_500)
REALTIME_RETENTION_ENTRIES = env.int("REALTIME_RETENTION_ENTRIES", default=10_000)


# Accounts

AUTH_USER_MODEL = "accounts.User"
REGISTRATION_OPEN = env.bool("REGISTRATION_OPEN", default=True)
PASSWORD_HASHERS = [
    "accounts.hashers.PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ACCESS_TOKEN_MINUTES = env.int("ACCESS_TOKEN_MINUTES", default=15, least=1, most=5_000_000)
REFRESH_TOKEN_DAYS = env.int("REFRESH_TOKEN_DAYS", default=14, least=1, most=36_500)
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=ACCESS_TOKEN_MINUTES),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=REFRESH_TOKEN_DAYS),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
}


# REST

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.AccessTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["backend.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["accounts.throttles.WriteThrottle"],
    "EXCEPTION_HANDLER": "backend.errors.answer",
    "DEFAULT_THROTTLE_RATES": {
        # Per address.
        "register": env.str("REGISTER_RATE", default="10/hour", form="rate"),
        "token": env.str("TOKEN_RATE", default="20/min", form="rate"),
        "refresh": env.str("REFRESH_RATE", default="300/min", form="rate"),
        # Per user, for signing in per user name that is tried.
        "token_user": env.str("TOKEN_USER_RATE", default="10/min", form="rate"),
        "ticket": env.str("TICKET_RATE", default="60/min", form="rate"),
        "write": env.str("WRITE_RATE", default="120/min", form="rate"),
    },
    "NUM_PROXIES": 1 if TRUST_PROXY else 0,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": PROJECT_TITLE,
    "DESCRIPTION": PROJECT_DESCRIPTION,
    "VERSION": PROJECT_VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "backend.schema.add_refusals",
    ],
    # The pages' scripts and styles come from this server.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}


# Logging: everything to standard error, one line a record, no token in any of them

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO", form="level").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "filters": {"mask": {"()": "backend.masking.MaskingFilter"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["mask"],
        },
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    # Django gives the first two handlers of their own, which would repeat each record.
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        # Uvicorn's too, which would not mask the tokens in the addresses of sockets.
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.access": {"handlers": [], "propagate": True},
        # A traceback a second while Redis is away; realtime.hub says so once.
        "channels_redis.pubsub": {"level": "CRITICAL"},
    },
}
