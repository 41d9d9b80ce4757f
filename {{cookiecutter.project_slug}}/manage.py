#!/usr/bin/env python
"""Django's command line, with this project's settings."""

import os
import sys

from django.core.management import execute_from_command_line

from backend.environment import explained


def main() -> None:
    """Run the management command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    with explained():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
