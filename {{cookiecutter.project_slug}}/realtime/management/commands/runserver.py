"""`runserver` with the project's own Daphne, so that development behaves as production does."""

import os
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.management.commands.runserver import Command as DaphneCommand
from django.conf import settings
from django.core.management.base import CommandError

from realtime.server import Server, cannot_listen


class Command(DaphneCommand):
    """Run the development server."""

    server_cls = Server

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve, and say where once it does; end with one sentence if it cannot.

        Daphne's own tells the address before it listens, and stays if it cannot.
        """
        if not options["use_asgi"]:
            super().inner_run(*args, **options)
            return
        self.check(display_num_errors=True)
        self.check_migrations()
        server = self.server_cls(
            application=self.get_application(options),
            endpoints=build_endpoint_description_strings(host=self.addr, port=self.port),
            # With the reloader this is not the main thread, which alone may have them.
            signal_handlers=not options["use_reloader"],
            action_logger=self.log_action,
            http_timeout=self.http_timeout,
            root_path=settings.FORCE_SCRIPT_NAME or "",
            websocket_handshake_timeout=self.websocket_handshake_timeout,
            on_listening=self.announce,
        )
        try:
            server.run()
        except (OSError, OverflowError) as error:
            message = cannot_listen(error, self.addr, int(self.port), "port=")
            if not options["use_reloader"]:
                raise CommandError(message) from None
            self.stderr.write(message)
            # From this thread there is no other way to end the process, and the reloader with it.
            os._exit(1)

    def announce(self, address: str, port: int) -> None:
        """Say where the server listens, and how it is stopped."""
        host = f"[{address}]" if ":" in address else address
        self.stdout.write(
            f"Django {self.get_version()} with {settings.SETTINGS_MODULE} serves "
            f"http://{host}:{port}/ until {'CTRL-BREAK' if os.name == 'nt' else 'CONTROL-C'}."
        )
        self.stdout.flush()
