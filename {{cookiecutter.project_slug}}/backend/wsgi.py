"""The WSGI entry point, for Gunicorn: the admin pages above all."""

import os

from django.core.wsgi import get_wsgi_application

from .requests import Utf8WSGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")

application = get_wsgi_application()
application.request_class = Utf8WSGIRequest
