"""Admin pages: rooms and their members can be changed, what was said only be looked at."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest

from realtime.admin import ReadOnlyAdmin

from .models import Member, Message, Room


class MemberInline(admin.TabularInline):
    """The members of a room; taking one out closes that user's sockets on it."""

    model = Member
    fields = ("user", "role", "read", "joined_at")
    readonly_fields = ("read", "joined_at")
    raw_id_fields = ("user",)
    extra = 0


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
    """Rooms, by name."""

    list_display = ("name", "slug", "private", "head", "created_at")
    list_filter = ("private",)
    search_fields = ("name", "slug")
    fields = ("name", "slug", "private", "head", "trimmed", "epoch")
    readonly_fields = ("head", "trimmed", "epoch")
    prepopulated_fields = {"slug": ("name",)}
    inlines = (MemberInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Room | None = None) -> tuple[str, ...]:
        """Keep the slug of a room that exists: messages and clients refer to it."""
        return self.readonly_fields if obj is None else (*self.readonly_fields, "slug")

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: Room | None = None
    ) -> dict[str, Sequence[str]]:
        """Fill in the slug of a new room only."""
        return self.prepopulated_fields if obj is None else {}

    def save_model(self, request: HttpRequest, obj: Room, form: ModelForm, change: bool) -> None:
        """Save what was changed and nothing else: the stream may have moved on since the read."""
        obj.save(update_fields=form.changed_data if change else None)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count what goes with a room instead of listing it, however much it is."""
        rooms = [room.pk for room in objs]
        counts = {
            "rooms": len(rooms),
            "members": Member.objects.filter(room__in=rooms).count(),
            "messages": Message.objects.filter(stream__in=rooms).count(),
        }
        return [str(room) for room in objs], counts, set(), []


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """Entries of rooms, by room, sender and time."""

    list_display = ("stream", "seq", "sender", "created_at", "payload")
    search_fields = ("stream__name", "stream__slug", "sender__username")
    list_select_related = ("stream", "sender")
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
