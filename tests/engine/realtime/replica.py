"""A replica of the database that is behind, as a project's router has it."""

from typing import ClassVar


class Replica:
    """Notes what is read from it; whatever was found in a database is looked up there again."""

    reads: ClassVar[list[str]] = []

    def db_for_read(self, model, instance=None, **hints):
        """Return the database that a model is read from."""
        if instance is None and model._meta.app_label in ("accounts", "chat", "realtime"):
            self.reads.append(model.__name__)
        return "default"

    def db_for_write(self, model, **hints):
        """Return the database that a model is written to."""
        return "default"
