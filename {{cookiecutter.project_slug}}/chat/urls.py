"""The REST paths of this app, below `/api/chat/`."""

from django.urls import include, path

from . import views

room = [
    path("join/", views.JoinView.as_view(), name="chat-join"),
    path("leave/", views.LeaveView.as_view(), name="chat-leave"),
    path("invite/", views.InviteView.as_view(), name="chat-invite"),
    path("kick/", views.KickView.as_view(), name="chat-kick"),
    path("members/", views.MembersView.as_view(), name="chat-members"),
    path("messages/", views.MessagesView.as_view(), name="chat-messages"),
    path("messages/<int:seq>/", views.MessageView.as_view(), name="chat-message"),
    path("read/", views.ReadView.as_view(), name="chat-read"),
]

urlpatterns = [
    path("rooms/", views.RoomsView.as_view(), name="chat-rooms"),
    path("rooms/<slug:slug>/", include(room)),
]
