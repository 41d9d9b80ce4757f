"""How often one may try to sign in, register or change something."""

import hashlib
import logging
import unicodedata
from contextlib import suppress
from ipaddress import AddressValueError, IPv6Address
from typing import Any

from django.http import HttpRequest
from redis import RedisError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle
from rest_framework_simplejwt.settings import api_settings

logger = logging.getLogger(__name__)


class Throttle(SimpleRateThrottle):
    """Counts requests in the cache, from one full minute, hour or whatever the rate says on."""

    # Of the rate, in seconds.
    duration: int
    num_requests: int

    def allow_request(self, request: Any, view: Any = None) -> bool:
        """Whether this request is within the rate; while Redis is away, every one is."""
        if self.rate is None:
            return True
        try:
            key = self.get_cache_key(request, view)
            if key is None:
                return True
            self.now = self.timer()
            key = f"{key}_{self.now // self.duration:.0f}"
            # Not the framework's own list of times, which is read and then written: of requests
            # that come at once it counts one.
            self.cache.add(key, 0, 2 * self.duration)
            return self.cache.incr(key) <= self.num_requests
        except (RedisError, ValueError) as error:  # ValueError: it had to make room for others
            logger.warning("Not counting requests of %s: %s", self.scope, type(error).__name__)
            return True

    def wait(self) -> float:
        """Return the seconds until the next minute, or whatever the rate says, begins."""
        return self.duration - self.now % self.duration


class AddressThrottle(Throttle):
    """Counts by the client's address, for IPv6 by the /64 network that one customer has."""

    def get_cache_key(self, request: Any, view: Any = None) -> str | None:
        """Return the key under which requests from this address are counted."""
        return self.cache_format % {"scope": self.scope, "ident": self.address(request)}

    def address(self, request: Any) -> str:
        """Return the address, or the network that stands for it."""
        address = self.get_ident(request) or ""
        with suppress(AddressValueError):
            version6 = IPv6Address(address)
            address = str(version6.ipv4_mapped or version6.exploded[:19])
        return address


class UserThrottle(Throttle):
    """Counts by the user who is signed in, from however many addresses; others not at all."""

    def get_cache_key(self, request: Request, view: Any = None) -> str | None:
        """Return the key under which requests of this user are counted."""
        if not request.user.is_authenticated:
            return None
        return self.cache_format % {"scope": self.scope, "ident": f"user-{request.user.pk}"}


class RegistrationThrottle(AddressThrottle):
    """Bounds how fast one address can make users."""

    scope = "register"


class IdentityThrottle(UserThrottle):
    """Bounds how fast a user can learn which names and addresses are taken: as registering does."""

    scope = "register"

    def get_cache_key(self, request: Any, view: Any = None) -> str | None:
        """Return the key under which requests that would change name or address are counted."""
        if request.method in SAFE_METHODS or not isinstance(request.data, dict):
            return None
        if not {"username", "email"} & request.data.keys():
            return None
        return super().get_cache_key(request, view)


class TokenThrottle(AddressThrottle):
    """Bounds how fast one address can try passwords."""

    scope = "token"


class RefreshThrottle(AddressThrottle):
    """Bounds how fast one address can send tokens, which an office renews and nobody guesses."""

    scope = "refresh"


class TokenUserThrottle(AddressThrottle):
    """Bounds how fast passwords of one user can be tried, from however many addresses.

    An address from which the user has signed in lately is counted by itself, so that who guesses
    elsewhere does not keep the user out.
    """

    scope = "token_user"

    def get_cache_key(self, request: Any, view: Any = None) -> str | None:
        """Return the key under which attempts for this user name are counted."""
        user = self._user(request)
        if user is None:
            return None
        home = f"{user}_{self.address(request)}"
        ident = home if self.cache.get(f"signed_in_{home}") else user
        return self.cache_format % {"scope": self.scope, "ident": ident}

    def remember(self, request: Any) -> None:
        """Take the address of this request for one of the user's, who has signed in with it."""
        home = f"{self._user(request)}_{self.address(request)}"
        with suppress(RedisError):
            self.cache.set(
                f"signed_in_{home}", 1, api_settings.REFRESH_TOKEN_LIFETIME.total_seconds()
            )

    def _user(self, request: Any) -> str | None:
        data = request.POST if isinstance(request, HttpRequest) else request.data
        username = data.get("username") if isinstance(data, dict) else None
        if not isinstance(username, str):
            return None
        # All that may be taken for the same name. Hashed, since it may be long and hold anything.
        name = unicodedata.normalize("NFKC", username.strip()).casefold()
        return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()


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

    def allow_request(self, request: Any, view: Any = None) -> bool:
        """Whether this request is within the rate; one that only reads always is."""
        return request.method in SAFE_METHODS or super().allow_request(request, view)
