"""What the REST endpoints of this app take and give."""

from typing import Any

from django.contrib.auth import authenticate, password_validation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError, transaction
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed

from .fields import ModelSerializer, TextField
from .models import User


class PasswordField(TextField):
    """A password: taken exactly as typed, at most 128 characters, never given out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            write_only=True,
            trim_whitespace=False,
            max_length=128,
            style={"input_type": "password"},
            **kwargs,
        )


class UserSerializer(ModelSerializer):
    """The user who asks, as they see themselves."""

    class Meta:
        model = User
        fields = ["id", "username", "email", "first_name", "last_name", "date_joined"]
        read_only_fields = ["date_joined"]
        extra_kwargs = {"email": {"required": True, "allow_blank": False}}

    def validate_email(self, email: str) -> str:
        """Refuse an address that another user has, in whatever case it is written."""
        others = User.objects.exclude(pk=self.instance.pk) if self.instance else User.objects.all()
        if others.filter(email__iexact=email).exists():
            raise serializers.ValidationError("A user with that email already exists.")
        return email

    def save(self, **kwargs: Any) -> User:
        """Save the user, unless another request has just taken the name or the address."""
        try:
            with transaction.atomic():
                return super().save(**kwargs)
        except IntegrityError as error:
            raise serializers.ValidationError(
                "A user with that username or email already exists."
            ) from error


class RegistrationSerializer(UserSerializer):
    """A new user."""

    password = PasswordField()

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "password"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a password that is easily guessed, the more so knowing the user."""
        known = {name: value for name, value in attrs.items() if name != "password"}
        validate_password("password", attrs["password"], User(**known))
        return attrs

    def create(self, validated_data: dict[str, Any]) -> User:
        """Create the user with a hashed password."""
        return User.objects.create_user(**validated_data)


class PasswordSerializer(serializers.Serializer):
    """A change of one's password."""

    old_password = PasswordField()
    new_password = PasswordField()

    def validate_old_password(self, password: str) -> str:
        """Refuse who holds a token alone."""
        if not self.context["request"].user.check_password(password):
            raise serializers.ValidationError("This is not your password.")
        return password

    def validate_new_password(self, password: str) -> str:
        """Refuse a password that is easily guessed."""
        validate_password(None, password, self.context["request"].user)
        return password


class TokensSerializer(serializers.Serializer):
    """A pair of tokens."""

    access = serializers.CharField(read_only=True)
    refresh = serializers.CharField(read_only=True)


class CredentialsSerializer(serializers.Serializer):
    """A user name and password, exchanged for a pair of tokens."""

    username = TextField(write_only=True)
    password = PasswordField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Find the active user whose credentials these are."""
        user = authenticate(self.context["request"], **attrs)
        if user is None:
            raise AuthenticationFailed(
                "No active account found with the given credentials", code="no_active_account"
            )
        return {"user": user}


class RefreshSerializer(serializers.Serializer):
    """A refresh token."""

    refresh = TextField(write_only=True)


class AnyTokenSerializer(serializers.Serializer):
    """An access or refresh token."""

    token = TextField(write_only=True)


def validate_password(field: str | None, password: str, user: User) -> None:
    """Raise DRF's ValidationError, under `field` if given, for an easily guessed `password`."""
    try:
        password_validation.validate_password(password, user)
    except DjangoValidationError as error:
        raise serializers.ValidationError(
            {field: error.messages} if field else error.messages
        ) from error
