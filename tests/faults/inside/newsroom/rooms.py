"""Jobs of the desk for the random faults: rooms, who is in them, and what all holds at the end.

A job that changes something insists: while the database is away, it tries again.
"""

import contextlib
import time

RETRY_SECONDS = 0.1


def attempt(work):
    """Do something; give whether it was done, and what it gives."""
    from django.db import Error, close_old_connections
    from realtime.streams import StreamBusy

    try:
        return True, work()
    except (Error, StreamBusy):
        close_old_connections()
        return False, None


def insist(work):
    """Do something until the database has done it; give what it gives."""
    while not (outcome := attempt(work))[0]:
        time.sleep(RETRY_SECONDS)
    return outcome[1]


# Jobs: who may


def make_rooms(job, owner, names):
    """Make rooms that belong to a user; give their slugs."""
    from accounts.models import User
    from chat.membership import create_room

    owner = User.objects.get(pk=owner)
    return [create_room(owner, name).slug for name in names]


def join(job, user, room):
    """Make a user a member of a room."""
    from accounts.models import User
    from chat import membership
    from chat.models import Room

    def work():
        with contextlib.suppress(membership.Conflict):
            membership.join(Room.objects.get(slug=room), User.objects.get(pk=user))

    insist(work)


def kick(job, user, room, by):
    """End a membership; give the room's head at that moment, which the room's lock makes exact."""
    from accounts.models import User
    from chat import membership
    from chat.models import Member, Room
    from django.db import transaction

    heads = []

    def work():
        with transaction.atomic():
            locked = Room.objects.select_for_update().get(slug=room)
            # A commit whose answer was lost counts: it was made at the head that was seen then.
            if Member.objects.filter(room=locked, user=user).exists():
                heads.append(locked.head)
                kicked = User.objects.get(pk=user)
                membership.kick(locked, User.objects.get(pk=by), kicked.username)

    insist(work)
    return heads[-1]


def log_out(job, user):
    """End all tokens of a user; give a new access token."""
    from accounts import tokens
    from accounts.models import User

    insist(lambda: User.objects.get(pk=user).revoke_access())
    return insist(lambda: tokens.issue(User.objects.get(pk=user)).access)


# Jobs: what is said


def say(job, user, room, texts):
    """Say things in a room; give how many of them were stored for sure."""
    from accounts.models import User
    from chat import messages
    from chat.models import Room

    def work(text):
        messages.send(Room.objects.get(slug=room), User.objects.get(pk=user), text)

    return sum(attempt(lambda text=text: work(text))[0] for text in texts)


def tell(job, user, texts):
    """Notify a user; give how many of the events were stored for sure."""
    from realtime.notification import notify_user

    return sum(
        attempt(lambda text=text: notify_user(user, {"type": "news", "text": text}))[0]
        for text in texts
    )


def wave(job, room, numbers):
    """Send signals to those who follow a room."""
    from chat.models import Room
    from realtime import streams

    pk = insist(lambda: Room.objects.values_list("pk", flat=True).get(slug=room))
    for number in numbers:
        streams.signal(Room, pk, {"type": "news.wave", "number": number})


# Jobs: streams


def trim(job, entries):
    """Delete all but the latest entries of every stream."""
    from chat.models import Room
    from realtime.models import UserStream
    from realtime.retention import trim

    for stream in (Room, UserStream):
        insist(lambda stream=stream: trim(stream, days=None, entries=entries, batch=1000))


def renew(job):
    """Give every stream a new epoch."""
    from realtime.retention import renew_epochs

    insist(renew_epochs)


def streams(job, users, rooms, entries=False):
    """Give where each stream stands, and what it holds."""
    from chat.models import Room
    from realtime.models import UserStream

    found = []
    rows = [
        *(("realtime", row.pk, row) for row in UserStream.objects.filter(pk__in=users)),
        *((f"chat/{row.slug}", None, row) for row in Room.objects.filter(slug__in=rooms)),
    ]
    for name, user, row in rows:
        events = row.entries.order_by("seq") if entries else ()
        found.append(
            {
                "name": name,
                "user": user,
                "group": row.group,
                "epoch": str(row.epoch),
                "head": row.head,
                "trimmed": row.trimmed,
                "events": [entry.event() for entry in events],
            }
        )
    return found


def sessions(job):
    """Give the rows of connections, and the ids of processes that have one."""
    from realtime.models import Connection, Process

    rows = Connection.objects.values_list("process", "user", "stream", "is_socket")
    return {"connections": list(rows), "processes": list(Process.objects.values_list(flat=True))}
