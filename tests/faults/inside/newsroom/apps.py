"""The app and its signal handler."""

from django.apps import AppConfig
from django.db.models.signals import post_save


class NewsroomConfig(AppConfig):
    """Tells users who have changed their name."""

    name = "newsroom"

    def ready(self):
        """Add the handler."""
        from django.contrib.auth import get_user_model

        post_save.connect(tell_of_name, sender=get_user_model(), dispatch_uid="newsroom")


def tell_of_name(instance, created, **kwargs):
    """Push the user's first name to the user, from within whatever transaction there is."""
    from realtime.notification import notify_user

    from .desk import news

    if not created and instance.first_name:
        notify_user(instance.pk, news(int(instance.first_name)))
