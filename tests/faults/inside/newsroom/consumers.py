"""A consumer that notifies, and one frame that keeps the database busy."""

from django.db import connection
from realtime.consumers import RealtimeConsumer
from realtime.database import in_database
from realtime.notification import anotify_user

from .desk import news


class NewsroomConsumer(RealtimeConsumer):
    """The user's own events, and two frames more."""

    async def receive_event(self, event):
        """Notify, or sleep in the database, as the client asks."""
        match event["type"]:
            case "newsroom.notify":
                await anotify_user(self.user.pk, news(event["number"]))
            case "newsroom.sleep":
                await in_database(sleep, event["seconds"])
                self.reply({"type": "newsroom.slept"})


def sleep(seconds):
    """Run a query that takes a while."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])
