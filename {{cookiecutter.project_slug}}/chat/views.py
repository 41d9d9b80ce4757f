"""Rooms and messages over REST."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from realtime.presence import present
from realtime.serializers import EventPageSerializer

from . import membership, messages
from .models import Room
from .serializers import (
    MemberQuerySerializer,
    MemberSerializer,
    MessageQuerySerializer,
    MessageSerializer,
    NewMessageSerializer,
    ReadSerializer,
    RoomQuerySerializer,
    RoomSerializer,
    TextSerializer,
    UsernameSerializer,
)

DONE = OpenApiResponse(description="Done.")
NOT_ALLOWED = OpenApiResponse(description="Not allowed to this user.")
NOT_FOUND = OpenApiResponse(description="It does not exist, or is not for this user to know of.")
CONFLICT = OpenApiResponse(description="The user is a member already, or is not one.")


class ChatView(APIView):
    """A view of what a user may know of."""

    @property
    def user(self) -> User:
        """The user who asks."""
        assert isinstance(self.request.user, User)
        return self.request.user

    def room(self, slug: str) -> Room:
        """Return a room that the user may know of, or answer 404."""
        room = Room.objects.seen_by(self.user).filter(slug=slug).first()
        if room is None:
            raise NotFound("There is no such room.")
        return room

    def own_room(self, slug: str) -> Room:
        """Return a room of which the user is a member, or answer 403 or 404."""
        room = self.room(slug)
        if room.role is None:
            raise PermissionDenied("Only members may do this. Join the room first.")
        return room

    def checked(self, serializer: type[serializers.Serializer]) -> dict[str, Any]:
        """Return the valid input, of a GET that of its query, or answer 400."""
        is_query = self.request.method == "GET"
        data = self.request.query_params if is_query else self.request.data
        checked = serializer(data=data)
        checked.is_valid(raise_exception=True)
        return checked.validated_data


class RoomsView(ChatView):
    """The rooms that the user may know of."""

    @extend_schema(
        summary="List rooms",
        parameters=[RoomQuerySerializer],
        responses={200: RoomSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        """Return public rooms and your own, by slug; the last slug is the next `after`."""
        query = self.checked(RoomQuerySerializer)
        rooms = Room.objects.seen_by(self.user).order_by("slug")
        if query["joined"]:
            rooms = rooms.filter(memberships__user=self.user)
        if "after" in query:
            rooms = rooms.filter(slug__gt=query["after"])
        return Response(RoomSerializer(rooms[: query["limit"]], many=True).data)

    @extend_schema(
        summary="Make a room",
        request=RoomSerializer,
        responses={201: RoomSerializer},
    )
    def post(self, request: Request) -> Response:
        """Make a room and become its owner."""
        room = membership.create_room(self.user, **self.checked(RoomSerializer))
        return Response(RoomSerializer(self.room(room.slug)).data, status.HTTP_201_CREATED)


class JoinView(ChatView):
    """Coming into a room."""

    @extend_schema(
        summary="Join a room",
        request=None,
        responses={204: DONE, 404: NOT_FOUND, 409: CONFLICT},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Become a member of a public room."""
        membership.join(self.room(slug), self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class LeaveView(ChatView):
    """Going out of a room."""

    @extend_schema(
        summary="Leave a room",
        request=None,
        responses={204: DONE, 404: NOT_FOUND, 409: CONFLICT},
    )
    def post(self, request: Request, slug: str) -> Response:
        """End the membership.

        A room whose owner leaves passes to its longest-serving moderator, else to its
        longest-serving member.
        """
        membership.leave(self.room(slug), self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class InviteView(ChatView):
    """Bringing others into a room."""

    @extend_schema(
        summary="Invite a user",
        request=UsernameSerializer,
        responses={204: DONE, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Make another user a member; owners and moderators may."""
        room = self.own_room(slug)
        membership.invite(room, self.user, **self.checked(UsernameSerializer))
        return Response(status=status.HTTP_204_NO_CONTENT)


class KickView(ChatView):
    """Putting others out of a room."""

    @extend_schema(
        summary="Kick a user",
        request=UsernameSerializer,
        responses={204: DONE, 403: NOT_ALLOWED, 404: NOT_FOUND},
    )
    def post(self, request: Request, slug: str) -> Response:
        """End another user's membership.

        Owners may kick moderators and members; moderators, members only.
        """
        room = self.own_room(slug)
        membership.kick(room, self.user, **self.checked(UsernameSerializer))
        return Response(status=status.HTTP_204_NO_CONTENT)


class MembersView(ChatView):
    """Who is in a room."""

    @extend_schema(
        summary="List members",
        parameters=[MemberQuerySerializer],
        responses={200: MemberSerializer(many=True), 403: NOT_ALLOWED, 404: NOT_FOUND},
    )
    def get(self, request: Request, slug: str) -> Response:
        """Return members by name, with role and who is here; the last name is the next `after`."""
        room = self.own_room(slug)
        query = self.checked(MemberQuerySerializer)
        members = room.memberships.select_related("user").order_by("user__username")
        if "after" in query:
            members = members.filter(user__username__gt=query["after"])
        context = {"present": present([room.group]).get(room.group, {})}
        return Response(
            MemberSerializer(members[: query["limit"]], many=True, context=context).data
        )


class MessagesView(ChatView):
    """What was said in a room."""

    @extend_schema(
        summary="Read messages",
        parameters=[MessageQuerySerializer],
        responses={200: EventPageSerializer, 403: NOT_ALLOWED, 404: NOT_FOUND},
    )
    def get(self, request: Request, slug: str) -> Response:
        """Return stored events, oldest first: after `since`, before `before`, or the latest."""
        room = self.own_room(slug)
        return Response(
            {
                "epoch": room.epoch,
                "head": room.head,
                "trimmed": room.trimmed,
                "events": messages.page(room, **self.checked(MessageQuerySerializer)),
            }
        )

    @extend_schema(
        summary="Send a message",
        request=NewMessageSerializer,
        responses={
            201: MessageSerializer,
            200: OpenApiResponse(MessageSerializer, "The first one of a repeated `client_id`."),
            403: NOT_ALLOWED,
            404: NOT_FOUND,
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        """Send a message to everyone in the room."""
        room = self.own_room(slug)
        message, is_new = messages.send(room, self.user, **self.checked(NewMessageSerializer))
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(message.event(), code)


class MessageView(ChatView):
    """One message."""

    @extend_schema(
        summary="Edit a message",
        request=TextSerializer,
        responses={200: MessageSerializer, 403: NOT_ALLOWED, 404: NOT_FOUND},
    )
    def patch(self, request: Request, slug: str, seq: int) -> Response:
        """Give a message another text; its author, owners and moderators may."""
        room = self.own_room(slug)
        message = messages.edit(room, self.user, seq, **self.checked(TextSerializer))
        return Response(message.event())

    @extend_schema(
        summary="Delete a message",
        responses={204: DONE, 403: NOT_ALLOWED, 404: NOT_FOUND},
    )
    def delete(self, request: Request, slug: str, seq: int) -> Response:
        """Delete the text of a message; its author, owners and moderators may."""
        messages.delete(self.own_room(slug), self.user, seq)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ReadView(ChatView):
    """How far a member has read."""

    @extend_schema(
        summary="Mark as read",
        request=ReadSerializer,
        responses={204: DONE, 403: NOT_ALLOWED, 404: NOT_FOUND},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Move the last entry that you have read forward; it never moves back."""
        room = self.own_room(slug)
        messages.mark_read(room, self.user, **self.checked(ReadSerializer))
        return Response(status=status.HTTP_204_NO_CONTENT)
