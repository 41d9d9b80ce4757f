"""How a REST request says who sends it."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from . import tokens
from .models import User


class AccessTokenAuthentication(BaseAuthentication):
    """Takes `Authorization: Bearer <access token>`; `request.auth` is then a `tokens.Access`."""

    def authenticate(self, request: Request) -> tuple[User, tokens.Access] | None:
        """Return the user and what the token grants, or None where the request has no token."""
        scheme, _, raw = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            access = tokens.authenticate(raw.strip())
        except tokens.InvalidToken as error:
            raise AuthenticationFailed(str(error), code="token_not_valid") from error
        return access.user, access

    def authenticate_header(self, request: Request) -> str:
        """Return what a 401 names in `WWW-Authenticate`."""
        return 'Bearer realm="api"'


class AccessTokenScheme(OpenApiAuthenticationExtension):
    """The same in the OpenAPI schema."""

    target_class = "accounts.authentication.AccessTokenAuthentication"
    name = "accessToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the security scheme object."""
        return build_bearer_security_scheme_object("Authorization", "Bearer", "JWT")
