"""The HTTP paths of this app: its REST endpoints, and the page."""

from django.urls import include, path
from django.views.generic import TemplateView

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
    path("api/chat/rooms/", views.RoomsView.as_view(), name="chat-rooms"),
    path("api/chat/rooms/<slug:slug>/", include(room)),
    path("chat/", TemplateView.as_view(template_name="chat/page.html"), name="chat"),
]
