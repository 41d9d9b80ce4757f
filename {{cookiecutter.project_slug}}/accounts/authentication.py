"""How a REST request says who sends it."""

from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication

from . import tokens
from .models import User


class AccessTokenAuthentication(JWTAuthentication):
    """Takes `Authorization: Bearer <access token>`; `request.auth` is then a `tokens.Access`."""

    def authenticate(self, request: Request) -> tuple[User, tokens.Access] | None:
        """Return the user and what the token grants, or None where the request has no token."""
        header = self.get_header(request)
        raw = None if header is None else self.get_raw_token(header)
        if raw is None:
            return None
        try:
            access = tokens.authenticate(raw.decode("latin-1"))
        except tokens.InvalidToken as error:
            raise AuthenticationFailed(str(error), code="token_not_valid") from error
        return access.user, access


class AccessTokenScheme(SimpleJWTScheme):
    """The same in the OpenAPI schema."""

    target_class = AccessTokenAuthentication
    name = "accessToken"
