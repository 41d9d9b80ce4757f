"""The Channels tutorial's project, with PostgreSQL or SQLite and simplejwt beside it."""

import environ

env = environ.Env()

SECRET_KEY = env("SECRET_KEY")
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": env.db("DATABASE_URL")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
ASGI_APPLICATION = "asgi.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # With redis-py 8's default timeout this layer closes idle sockets after five seconds.
        "CONFIG": {"hosts": [{"address": env("REDIS_URL"), "socket_timeout": None}]},
    }
}
SIMPLE_JWT = {"SIGNING_KEY": env("SECRET_KEY")}
