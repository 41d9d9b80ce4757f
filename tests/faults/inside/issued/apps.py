"""The app, which writes down every token and ticket of its process."""

import functools
import os
from pathlib import Path

from django.apps import AppConfig


class IssuedConfig(AppConfig):
    """Appends what is issued to the file that ISSUED_FILE names."""

    name = "issued"

    def ready(self):
        """Get in between."""
        from accounts import tokens
        from realtime import tickets

        tokens.issue = written(tokens.issue)
        tickets.issue = written(tickets.issue)


def written(issue):
    """Give a function that issues as this one does, and writes down what it gives."""

    @functools.wraps(issue)
    def issue_and_write(*arguments):
        issued = issue(*arguments)
        lines = [issued] if isinstance(issued, str) else issued
        with Path(os.environ["ISSUED_FILE"]).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return issued

    return issue_and_write
