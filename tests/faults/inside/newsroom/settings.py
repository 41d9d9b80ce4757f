"""The project's settings with this app on top."""

from backend.settings import *

INSTALLED_APPS += ["issued", "newsroom"]
ROOT_URLCONF = "newsroom.urls"
