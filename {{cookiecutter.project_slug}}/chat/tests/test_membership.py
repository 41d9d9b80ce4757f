"""Coming and going over REST."""

import pytest
from rest_framework.exceptions import NotFound

from accounts.models import User
from chat import membership, messages
from chat.models import Member, Room

Role = Member.Role


def url(room, action):
    """Return the address of an action on a room."""
    return f"/api/chat/rooms/{room.slug}/{action}/"


@pytest.fixture
def third_user(db):
    """A user named hopper."""
    return User.objects.create_user("hopper", "hopper@example.com", "nanosecond-wire")


def role_of(room, user):
    """Return a user's role in a room."""
    return room.memberships.filter(user=user).values_list("role", flat=True).first()


def test_anyone_may_join_a_public_room(other_api, other_user, room):
    """Joining makes a member; joining again is a conflict."""
    assert other_api.post(url(room, "join")).status_code == 204
    assert role_of(room, other_user) == Role.MEMBER
    assert other_api.post(url(room, "join")).status_code == 409


def test_nothing_is_unread_for_who_has_just_joined(other_api, user, room):
    """What was said before one came can be read, but is not counted."""
    messages.send(room, user, "before")

    other_api.post(url(room, "join"))

    assert other_api.get("/api/chat/rooms/").json()[0]["unread"] == 0


def test_private_and_unknown_rooms_look_the_same(other_api, secret_room, subtests):
    """Of a private room a stranger learns no more than of one that does not exist."""
    for action in ("join", "leave", "invite", "kick", "messages", "read"):
        with subtests.test(action=action):
            answers = [
                other_api.post(address, {"username": "ada", "text": "hi", "seq": 1})
                for address in (url(secret_room, action), url(Room(slug="nowhere"), action))
            ]

            assert [answer.status_code for answer in answers] == [404, 404]
            assert answers[0].content == answers[1].content


def test_a_member_may_leave(other_api, other_user, room, member):
    """Leaving ends the membership; leaving again is a conflict."""
    assert other_api.post(url(room, "leave")).status_code == 204
    assert role_of(room, other_user) is None
    assert other_api.post(url(room, "leave")).status_code == 409


def test_an_owners_office_passes_to_the_longest_serving_moderator(
    api, room, member, other_user, third_user
):
    """Of those who stay a moderator comes first, whenever they joined."""
    membership.join(room, third_user)
    room.memberships.filter(user=third_user).update(role=Role.MODERATOR)

    assert api.post(url(room, "leave")).status_code == 204

    assert role_of(room, third_user) == Role.OWNER
    assert role_of(room, other_user) == Role.MEMBER


def test_without_moderators_the_longest_serving_member_becomes_the_owner(
    user, room, member, other_user, third_user
):
    """The deletion of an account counts as leaving, and the room keeps an owner."""
    membership.join(room, third_user)

    user.delete()

    assert role_of(room, other_user) == Role.OWNER
    assert role_of(room, third_user) == Role.MEMBER


def test_a_second_owner_simply_stays(api, room, member, other_user, third_user):
    """A room that still has an owner appoints nobody."""
    membership.join(room, third_user)
    room.memberships.filter(user=third_user).update(role=Role.OWNER)

    api.post(url(room, "leave"))

    assert role_of(room, other_user) == Role.MEMBER


def test_the_last_one_leaves_the_room_behind(api, other_api, other_user, room):
    """A public room outlives its members; whoever comes next is a plain member."""
    api.post(url(room, "leave"))

    assert other_api.post(url(room, "join")).status_code == 204
    assert role_of(room, other_user) == Role.MEMBER


def test_an_owner_may_invite_into_a_private_room(api, other_api, other_user, secret_room):
    """Who was invited is a member and sees the room; a second time is a conflict."""
    invitation = {"username": "grace"}

    assert api.post(url(secret_room, "invite"), invitation).status_code == 204
    assert role_of(secret_room, other_user) == Role.MEMBER
    assert [room["slug"] for room in other_api.get("/api/chat/rooms/").json()] == [secret_room.slug]
    assert api.post(url(secret_room, "invite"), invitation).status_code == 409


@pytest.mark.parametrize("is_member", [True, False])
def test_others_may_neither_invite_nor_kick(other_api, third_user, room, member, is_member):
    """Plain members and strangers are told that they may not."""
    if not is_member:
        member.delete()

    for action in ("invite", "kick"):
        response = other_api.post(url(room, action), {"username": "hopper"})

        assert response.status_code == 403


def test_a_user_who_does_not_exist_is_not_found(api, room, subtests):
    """A name that nobody has is 404, a body without one 400."""
    for action in ("invite", "kick"):
        with subtests.test(action=action):
            assert api.post(url(room, action), {"username": "nobody"}).status_code == 404
            assert api.post(url(room, action), {}).status_code == 400
            assert api.post(url(room, action), {"username": "a\0b"}).status_code == 400


def test_inactive_users_are_not_invited(api, other_user, room):
    """An account that was shut out is as good as unknown."""
    User.objects.filter(pk=other_user.pk).update(is_active=False)

    assert api.post(url(room, "invite"), {"username": "grace"}).status_code == 404


def test_who_may_kick_whom(api, room, user, other_user, subtests):
    """Owners kick moderators and members, moderators kick members, nobody kicks an owner."""
    for actor, target, status in (
        (Role.OWNER, Role.MEMBER, 204),
        (Role.OWNER, Role.MODERATOR, 204),
        (Role.OWNER, Role.OWNER, 403),
        (Role.MODERATOR, Role.MEMBER, 204),
        (Role.MODERATOR, Role.MODERATOR, 403),
        (Role.MODERATOR, Role.OWNER, 403),
        (Role.MEMBER, Role.MEMBER, 403),
    ):
        with subtests.test(actor=actor.value, target=target.value):
            room.memberships.update_or_create(user=user, defaults={"role": actor})
            room.memberships.update_or_create(user=other_user, defaults={"role": target})

            assert api.post(url(room, "kick"), {"username": "grace"}).status_code == status

            assert role_of(room, other_user) == (None if status == 204 else target)


def test_two_who_join_at_once_with_one_account_are_one_member(at_once, other_user, room):
    """The same user joining in two requests becomes a member once."""

    def joined() -> bool:
        try:
            membership.join(room, other_user)
        except membership.Conflict:
            return False
        return True

    assert sorted(at_once(joined, joined)) == [False, True]
    assert room.memberships.filter(user=other_user).count() == 1


def test_owners_who_leave_at_once_leave_an_owner(at_once, user, other_user, third_user, room):
    """Two who go at the same time do not pass the office to each other."""
    membership.join(room, other_user)
    membership.join(room, third_user)

    at_once(lambda: membership.leave(room, user), lambda: membership.leave(room, other_user))

    assert role_of(room, third_user) == Role.OWNER


@pytest.mark.django_db(transaction=True)
def test_a_held_room_is_busy(other_api, room, member, short_lock_timeout, held):
    """Who has to wait for the room's row too long is told to try again."""
    with held(lambda: Room.objects.select_for_update().get(pk=room.pk)):
        response = other_api.post(url(room, "leave"))

    assert response.status_code == 503
    assert response["Retry-After"] == "1"


def test_a_room_that_is_gone_cannot_be_joined(other_user, room):
    """A room that was deleted since it was read is not found."""
    gone = Room.objects.get()
    room.delete()

    with pytest.raises(NotFound):
        membership.join(gone, other_user)


def test_rooms_and_members_have_names(room, member):
    """The admin pages show who is where."""
    assert str(room) == "Lobby"
    assert str(member) == "grace in Lobby"
