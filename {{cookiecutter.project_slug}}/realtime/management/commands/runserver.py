"""`runserver` with the project's own Daphne, so that development behaves as production does."""

from daphne.management.commands.runserver import Command as DaphneCommand

from realtime.server import Server


class Command(DaphneCommand):
    """Run the development server."""

    server_cls = Server
