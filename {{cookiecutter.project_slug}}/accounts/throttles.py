"""How often one may try to sign in or register."""

import hashlib
import logging
from contextlib import suppress
from ipaddress import AddressValueError, IPv6Address

from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

logger = logging.getLogger(__name__)


class AddressThrottle(SimpleRateThrottle):
    """Counts by the client's address, for IPv6 by the /64 network that one customer has."""

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        """Return the key under which requests from this address are counted."""
        address = self.get_ident(request) or ""
        with suppress(AddressValueError):
            address = IPv6Address(address).exploded[:19]
        return self.cache_format % {"scope": self.scope, "ident": address}

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether this request is within the rate; while Redis is away, every one is."""
        try:
            return super().allow_request(request, view)
        except RedisError as error:
            logger.warning("Not counting requests of %s: %s", self.scope, type(error).__name__)
            return True


class RegistrationThrottle(AddressThrottle):
    """Bounds how fast one address can make users."""

    scope = "register"


class TokenThrottle(AddressThrottle):
    """Bounds how fast one address can try passwords and tokens."""

    scope = "token"


class TokenUserThrottle(AddressThrottle):
    """Bounds how fast passwords of one user can be tried, from however many addresses."""

    scope = "token_user"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        """Return the key under which attempts for this user name are counted."""
        username = request.data.get("username") if isinstance(request.data, dict) else None
        if not isinstance(username, str):
            return None
        # Hashed, since a name may be long and hold anything.
        ident = hashlib.sha256(username.casefold().encode("utf-8", "replace")).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": ident}
