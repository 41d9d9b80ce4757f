"""The admin page of users."""

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest

from .models import User


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
