"""The rendered project's settings and one more app."""

from backend.settings import *
from backend.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "bench"]
