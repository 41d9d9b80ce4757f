"""The admin page of users, and how one signs in to the admin pages."""

from math import ceil
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from .models import User
from .throttles import TokenThrottle, TokenUserThrottle


class LoginForm(AdminAuthenticationForm):
    """Signing in to the admin pages: passwords that are tried here count like those over REST."""

    def clean(self) -> dict[str, Any]:
        """Find the user, unless too many passwords have been tried."""
        throttles = TokenThrottle(), TokenUserThrottle()
        refused = [throttle for throttle in throttles if not throttle.allow_request(self.request)]
        if refused:
            seconds = ceil(max(throttle.wait() for throttle in refused))
            raise ValidationError(
                f"Too many attempts. Try again in {seconds} seconds.", code="throttled"
            )
        cleaned = super().clean()
        TokenUserThrottle().remember(self.request)
        return cleaned


admin.site.login_form = LoginForm


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Django's page, with the email address of new users and with actions that end access."""

    list_display = ["username", "email", "is_active", "is_staff", "last_login", "date_joined"]
    actions = ["log_out", "deactivate"]
    add_fieldsets = [
        (
            None,
            {
                "classes": ["wide"],
                "fields": ["username", "email", "usable_password", "password1", "password2"],
            },
        ),
    ]

    @admin.action(description="Log out selected users everywhere", permissions=["change"])
    def log_out(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """End all tokens of the selected users."""
        for user in users:
            user.revoke_access()
        self.message_user(request, f"Logged out: {len(users)}.", messages.SUCCESS)

    @admin.action(description="Deactivate selected users", permissions=["change"])
    def deactivate(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """Shut the selected users out, one by one so that their sockets close too."""
        for user in users:
            user.is_active = False
            user.save(update_fields=["is_active"])
        self.message_user(request, f"Deactivated: {len(users)}.", messages.SUCCESS)
