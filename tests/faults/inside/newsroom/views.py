"""Views that notify."""

import asyncio
import collections
import gc
import os

from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from realtime import consumers, feed, http
from realtime.hub import Hub
from realtime.notification import anotify_user, notify_user

from .desk import news


def sync(request, user_id, number):
    """Notify from a sync view."""
    return HttpResponse(notify_user(user_id, news(number)))


async def asynchronous(request, user_id, number):
    """Notify from an async view."""
    return HttpResponse(await anotify_user(user_id, news(number)))


def rename(request, user_id, number):
    """Save a user inside a transaction, so that the signal handler notifies."""
    with transaction.atomic():
        user = get_user_model().objects.get(pk=user_id)
        user.first_name = str(number)
        user.save()
    return HttpResponse()


# What exists once for each connection, or for each stream that is followed.
KINDS = (
    feed.Feed,
    feed.Subscription,
    consumers.Socket,
    consumers.StreamConsumer,
    http.Waiting,
)


async def holdings(request):
    """Say what this process holds: of its hub, and of what each connection brings with it."""
    gc.collect()
    # Of a type and not of an instance: whoever only looks like one is not asked.
    kinds = collections.Counter(
        kind.__name__
        for thing in gc.get_objects()
        for kind in KINDS
        if issubclass(type(thing), kind)
    )
    hub = Hub._instances.get(asyncio.get_running_loop())
    return JsonResponse(
        {
            "process": os.getpid(),
            "session": hub and str(hub.sessions.process),
            "feeds": sorted(hub.feeds) if hub else [],
            "connections": len(hub.connections) if hub else 0,
            # Those that are written, come and go. Not as objects: of an error, which the thread's
            # database connection keeps until the next one, some may be part.
            "sessions": hub
            and len(hub.sessions._sessions)
            + len(hub.sessions._arriving)
            + len(hub.sessions._leaving),
            "tail": hub.tail._bytes if hub else 0,
            "objects": kinds,
            "tasks": sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks()),
        }
    )
