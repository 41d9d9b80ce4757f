"""Pushing events to users: the functions that the rest of a project calls."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from . import streams
from .database import in_database
from .models import UserStream


def notify_user(user_id: int, data: Mapping[str, Any], durable: bool = True) -> int | None:
    """Push an event to every connected client of a user, and to those who connect later.

    From any thread, view, signal handler, command or task. Inside a transaction the event leaves
    with the commit; call this last, since the user's stream stays locked until then. It returns
    whether or not Redis is there: the event is stored, and arrives when it can.

    Args:
        user_id: the primary key of the user.
        data: the event, a JSON object such as `{"type": "notification", "message": "…"}`.
        durable: `False` for what is worthless a second later ("is typing"): it is not stored, has
            no `seq`, reaches only those who are connected now, and needs no database.

    Returns:
        The event's sequence number; nothing if it is not durable.

    Raises:
        ValueError: `data` breaks the payload contract, or there is no such user.
        StreamBusy: another transaction held the user's stream for too long.
        RuntimeError: called on a running event loop; await `anotify_user` there.
    """
    _refuse_event_loop("notify_user", "anotify_user")
    if not durable:
        streams.signal(UserStream, user_id, data)
        return None
    return streams.append(UserStream, user_id, data).seq


async def anotify_user(user_id: int, data: Mapping[str, Any], durable: bool = True) -> int | None:
    """Do what `notify_user` does, from async code; same arguments, result and errors."""
    if not durable:
        streams.signal(UserStream, user_id, data)
        return None
    return (await in_database(streams.append, UserStream, user_id, data)).seq


def notify_users(user_ids: Iterable[int], data: Mapping[str, Any], durable: bool = True) -> None:
    """Push one event to many users: all of them, or none if it fails.

    One transaction takes the streams in a fixed order, so two such calls never wait for each other
    in a circle, as single calls in one transaction can.

    Arguments and errors as for `notify_user`.
    """
    _refuse_event_loop("notify_users", "asgiref.sync.sync_to_async(notify_users)")
    if durable:
        streams.append_all(UserStream, list(user_ids), data)
    else:
        for user_id in user_ids:
            streams.signal(UserStream, user_id, data)


def _refuse_event_loop(name: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{name} would block the running event loop: await {instead} instead")
