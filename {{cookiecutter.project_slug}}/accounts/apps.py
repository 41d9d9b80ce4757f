"""The app that knows who a user is and which tokens speak for them."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users, registration and tokens."""

    name = "accounts"

    def ready(self) -> None:
        """Connect the receiver that ends a deleted user's access, and register what to check."""
        from . import checks, signals  # noqa: F401
