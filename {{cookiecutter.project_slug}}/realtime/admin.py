"""Admin pages for looking at streams and events; nothing here can be changed by hand."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from .models import Connection, UserEvent, UserStream
from .presence import living_since


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows rows that only the code may write: a stream edited by hand would be a broken one."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes a row by itself; with its owner it goes."""
        page = request.resolver_match
        own = f"{self.opts.app_label}_{self.opts.model_name}_"
        return page is not None and not (page.url_name or "").startswith(own)


@admin.register(UserStream)
class UserStreamAdmin(ReadOnlyAdmin):
    """Streams, by user."""

    list_display = ("user", "head", "trimmed", "epoch")
    search_fields = ("user__username", "user__email")
    list_select_related = ("user",)


@admin.register(UserEvent)
class UserEventAdmin(ReadOnlyAdmin):
    """Events, by user and time."""

    list_display = ("stream", "seq", "created_at", "payload")
    search_fields = ("stream__user__username", "stream__user__email")
    list_select_related = ("stream__user",)
    date_hierarchy = "created_at"
    ordering = ("-created_at",)


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    """Who is connected: the open sockets of all processes."""

    list_display = ("user", "stream", "process", "opened_at", "seen_at")
    search_fields = ("user__username", "user__email", "stream")
    list_filter = ("process",)
    list_select_related = ("user", "process")
    ordering = ("-opened_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Connection]:
        """Leave out what a killed process has left behind."""
        return super().get_queryset(request).filter(process__seen_at__gt=living_since())

    @admin.display(ordering="process__seen_at")
    def seen_at(self, connection: Connection) -> datetime:
        """When its process last said that it lives."""
        return connection.process.seen_at
