"""The WSGI entry point, for Gunicorn: the admin pages above all."""

import os

from django.core.wsgi import get_wsgi_application

from .environment import explained
from .requests import Utf8WSGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")

with explained():
    application = get_wsgi_application()
application.request_class = Utf8WSGIRequest
