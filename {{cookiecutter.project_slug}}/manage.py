#!/usr/bin/env python
"""Django's command line, with this project's settings."""

import os
import sys

from django.core.management import execute_from_command_line

{% if cookiecutter.database == "postgresql" -%}
from backend import postgres
{% endif -%}
from backend.environment import explained


def main() -> None:
    """Run the management command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    with explained():
{%- if cookiecutter.database == "postgresql" %}
        if postgres.is_needed():
            sys.exit(postgres.main([sys.executable, *sys.argv]))
{%- endif %}
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
