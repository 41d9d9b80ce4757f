"""The REST paths of this app, below `/api/realtime/`."""

from django.urls import path

from .views import EventsView, TicketView

urlpatterns = [
    path("events/", EventsView.as_view(), name="realtime-events"),
    path("ticket/", TicketView.as_view(), name="realtime-ticket"),
]
