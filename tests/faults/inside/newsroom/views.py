"""Views that notify."""

from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpResponse
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
