"""The project's settings, with answers that say which server gave them and what it saw."""

from newsroom.settings import *

MIDDLEWARE = ["reception.middleware.SignedMiddleware", *MIDDLEWARE]
