"""The REST endpoints of users and tokens."""

import abc
from typing import cast

from django.conf import settings
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from . import serializers, throttles, tokens
from .models import User

REFUSED = OpenApiResponse(description="The credentials are wrong, or no longer good.")
NEW_TOKENS = {200: serializers.TokensSerializer, 401: REFUSED}


class RegistrationIsOpen(BasePermission):
    """Anyone may register, unless `REGISTRATION_OPEN` is off."""

    message = "Registration is closed."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the setting allows it."""
        return settings.REGISTRATION_OPEN


@extend_schema(
    summary="Register",
    responses={
        201: serializers.RegistrationSerializer,
        403: OpenApiResponse(description="Registration is closed."),
    },
)
class RegistrationView(generics.CreateAPIView):
    """Make a user."""

    authentication_classes = []
    permission_classes = [RegistrationIsOpen]
    throttle_classes = [throttles.RegistrationThrottle]
    serializer_class = serializers.RegistrationSerializer


@extend_schema_view(
    get=extend_schema(summary="Who am I"),
    patch=extend_schema(summary="Change my profile"),
)
class MeView(generics.RetrieveUpdateAPIView):
    """The user whose token this is."""

    http_method_names = ["get", "patch", "head", "options"]
    throttle_classes = [throttles.WriteThrottle, throttles.IdentityThrottle]
    serializer_class = serializers.UserSerializer

    def get_object(self) -> User:
        """Return the user who asks."""
        return cast(User, self.request.user)


class PostView(abc.ABC, generics.GenericAPIView):
    """An endpoint that takes what its serializer checks and answers what `perform` returns."""

    # Without a docstring, so that the schema describes an endpoint by that of its class.
    def post(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            answer = self.perform(serializer)
        except tokens.InvalidToken as error:
            raise AuthenticationFailed(str(error), code="token_not_valid") from error
        return Response({} if answer is None else answer._asdict())

    @abc.abstractmethod
    def perform(self, serializer: BaseSerializer) -> tokens.Tokens | None:
        """Act on the valid input; may raise `tokens.InvalidToken`."""


@extend_schema(summary="Change my password", responses=serializers.TokensSerializer)
class PasswordView(PostView):
    """Change the password, which ends every token, and answer with a new pair."""

    throttle_classes = [throttles.TokenThrottle, throttles.PasswordThrottle]
    serializer_class = serializers.PasswordSerializer

    def perform(self, serializer: BaseSerializer) -> tokens.Tokens:
        """Save the new password; the model ends the user's access."""
        user = cast(User, self.request.user)
        user.set_password(serializer.validated_data["new_password"])
        user.save(update_fields=["password"])
        return tokens.issue(user)


class TokenEndpoint(PostView):
    """An endpoint that goes by nothing but the body."""

    # Names the scheme in the 401 answers; requests carry no header that it would look at.
    permission_classes = [AllowAny]
    throttle_classes = [throttles.RefreshThrottle]

    def perform_authentication(self, request: Request) -> None:
        """Leave an expired access token in the header unread: this is where one gets a new one."""


@extend_schema(summary="Sign in", auth=[], responses=NEW_TOKENS)
class TokenView(TokenEndpoint):
    """Exchange a user name and password for an access and a refresh token."""

    throttle_classes = [throttles.TokenThrottle, throttles.TokenUserThrottle]
    serializer_class = serializers.CredentialsSerializer

    def perform(self, serializer: BaseSerializer) -> tokens.Tokens:
        """Issue the tokens."""
        throttles.TokenUserThrottle().remember(self.request)
        return tokens.issue(serializer.validated_data["user"])


@extend_schema(summary="Refresh my tokens", auth=[], responses=NEW_TOKENS)
class RefreshView(TokenEndpoint):
    """Exchange a refresh token, which can be used once, for a new pair of tokens."""

    serializer_class = serializers.RefreshSerializer

    def perform(self, serializer: BaseSerializer) -> tokens.Tokens:
        """Exchange the token."""
        return tokens.rotate(serializer.validated_data["refresh"])


@extend_schema(
    summary="Verify a token",
    auth=[],
    responses={200: OpenApiResponse(description="Valid."), 401: REFUSED},
)
class VerifyView(TokenEndpoint):
    """Return whether a token could be used now."""

    serializer_class = serializers.AnyTokenSerializer

    def perform(self, serializer: BaseSerializer) -> None:
        """Check the token."""
        tokens.verify(serializer.validated_data["token"])


@extend_schema(
    summary="Log out",
    auth=[],
    responses={200: OpenApiResponse(description="Logged out."), 401: REFUSED},
)
class BlacklistView(TokenEndpoint):
    """End every token of the user whose refresh token this is, and close their sockets."""

    serializer_class = serializers.RefreshSerializer

    def perform(self, serializer: BaseSerializer) -> None:
        """End the user's access."""
        tokens.end(serializer.validated_data["refresh"])
