"""How often one may try to sign in, register or change something."""

import hashlib
import logging
from contextlib import suppress
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING

from redis import RedisError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

if TYPE_CHECKING:  # the module of the views imports this one
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


class Throttle(SimpleRateThrottle):
    """Counts requests in the cache."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Whether this request is within the rate; while Redis is away, every one is."""
        try:
            return super().allow_request(request, view)
        except RedisError as error:
            logger.warning("Not counting requests of %s: %s", self.scope, type(error).__name__)
            return True


class AddressThrottle(Throttle):
    """Counts by the client's address, for IPv6 by the /64 network that one customer has."""

    def get_cache_key(self, request: Request, view: "APIView") -> str | None:
        """Return the key under which requests from this address are counted."""
        address = self.get_ident(request) or ""
        with suppress(AddressValueError):
            address = IPv6Address(address).exploded[:19]
        return self.cache_format % {"scope": self.scope, "ident": address}


class UserThrottle(Throttle):
    """Counts by the user who is signed in, from however many addresses; others not at all."""

    def get_cache_key(self, request: Request, view: "APIView") -> str | None:
        """Return the key under which requests of this user are counted."""
        if not request.user.is_authenticated:
            return None
        return self.cache_format % {"scope": self.scope, "ident": f"user-{request.user.pk}"}


class RegistrationThrottle(AddressThrottle):
    """Bounds how fast one address can make users."""

    scope = "register"


class TokenThrottle(AddressThrottle):
    """Bounds how fast one address can try passwords and tokens."""

    scope = "token"


class TokenUserThrottle(Throttle):
    """Bounds how fast passwords of one user can be tried, from however many addresses."""

    scope = "token_user"

    def get_cache_key(self, request: Request, view: "APIView") -> str | None:
        """Return the key under which attempts for this user name are counted."""
        username = request.data.get("username") if isinstance(request.data, dict) else None
        if not isinstance(username, str):
            return None
        # Hashed, since a name may be long and hold anything.
        ident = hashlib.sha256(username.casefold().encode("utf-8", "replace")).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": ident}


class PasswordThrottle(UserThrottle):
    """Bounds how fast the old password can be guessed with a stolen token.

    Counted apart from signing in, so that who guesses there keeps nobody from a new password.
    """

    scope = "token_user"


class TicketThrottle(UserThrottle):
    """Bounds how fast one user can buy tickets: each is a row, and each socket takes one."""

    scope = "ticket"


class WriteThrottle(UserThrottle):
    """Bounds how fast one user can change something; the default of every view."""

    scope = "write"

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Whether this request is within the rate; one that only reads always is."""
        return request.method in SAFE_METHODS or super().allow_request(request, view)
