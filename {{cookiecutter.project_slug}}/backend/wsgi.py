"""The WSGI entry point: Gunicorn serves everything but `/ws/` and `/api/` through it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")

application = get_wsgi_application()
