"""Issuing JSON Web Tokens, and deciding whom one speaks for.

REST, tickets and sockets all ask `authenticate`, so a token ends everywhere at the same moment.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import router
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from backend.database import bounded_transaction

from .models import User

#: The claim that holds the user's `token_version` at the time of issue.
VERSION_CLAIM = "ver"


class InvalidToken(Exception):
    """The token does not speak for anyone; the message says why, without the token."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a valid access token grants: acting as `user` until `expires_at` (aware)."""

    user: User
    expires_at: datetime


class Tokens(NamedTuple):
    """A new pair of encoded tokens."""

    access: str
    refresh: str


def authenticate(raw: str) -> Access:
    """Return what the encoded access token `raw` grants, with one database query.

    Raises:
        InvalidToken: it is malformed, forged, expired or no access token, or its user is gone,
            inactive, or has since logged out or changed the password.
    """
    token = _decode(AccessToken, raw)
    return Access(_user(token), datetime.fromtimestamp(token["exp"], UTC))


def issue(user: User) -> Tokens:
    """Return a new access and refresh token for `user`; neither is stored until it is spent."""
    refresh = RefreshToken()
    refresh[api_settings.USER_ID_CLAIM] = str(user.pk)
    refresh[VERSION_CLAIM] = user.token_version
    return Tokens(access=str(refresh.access_token), refresh=str(refresh))


def rotate(raw: str) -> Tokens:
    """Exchange the encoded refresh token `raw` for a new pair; it can be used only once.

    Raises:
        InvalidToken: as for `authenticate`, or the token has been used before.
    """
    token = _decode(RefreshToken, raw)
    with bounded_transaction(router.db_for_write(User)):
        user = _user(token)
        _, is_first_use = token.blacklist()
        if not is_first_use:
            raise InvalidToken("Token is blacklisted")
        return issue(user)


def end(raw: str) -> None:
    """Log out the user of the encoded refresh token `raw`: every token of theirs ends.

    Raises:
        InvalidToken: as for `rotate`.
    """
    token = _decode(RefreshToken, raw)
    with bounded_transaction(router.db_for_write(User)):
        user = _user(token)
        token.blacklist()
        user.revoke_access()


def verify(raw: str) -> None:
    """Check that the encoded token `raw`, access or refresh, could be used now.

    Raises:
        InvalidToken: it could not.
    """
    try:
        token = _decode(AccessToken, raw)
    except InvalidToken:
        token = _decode(RefreshToken, raw)
    _user(token)


def _decode(kind: Any, raw: str) -> Any:
    try:
        return kind(raw)
    except (TokenError, ValueError) as error:  # ValueError: not even text that can be encoded
        raise InvalidToken(str(error)) from error


def _user(token: Token) -> User:
    user = User.objects.filter(pk=token[api_settings.USER_ID_CLAIM]).first()
    if user is None:
        raise InvalidToken("User not found")
    if not user.is_active:
        raise InvalidToken("User is inactive")
    if token.get(VERSION_CLAIM) != user.token_version:
        raise InvalidToken("Token has been revoked")
    return user
