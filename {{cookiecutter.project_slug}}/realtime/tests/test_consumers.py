"""The life of a socket: who may open it, what it gets, how it ends."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.routing import get_default_application
from channels.testing import WebsocketCommunicator
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from accounts import tokens
from realtime.models import UserEvent, UserStream
from realtime.notification import anotify_user, notify_user, notify_users
from realtime.origin import OriginCheck

from .sockets import PATIENCE, Client

pytestmark = pytest.mark.django_db(transaction=True)


def token_for(user, **lifetime):
    """Return an access token with a lifetime of its own."""
    token = AccessToken()
    token.set_exp(lifetime=timedelta(**lifetime))
    token["user_id"], token[tokens.VERSION_CLAIM] = str(user.pk), user.token_version
    return str(token)


async def test_the_first_frame_names_the_position(access_token, hub):
    """A new socket starts at the head of the user's stream and learns when its token expires."""
    client = Client(token=access_token)

    ready = await client.ready()

    assert ready["seq"] == 0
    assert ready["expires_at"] > "20"
    await client.disconnect()


async def test_events_arrive_in_order_with_their_numbers(user, access_token, hub):
    """What is pushed to a user arrives as it is, plus `seq`."""
    client = Client(token=access_token)
    await client.ready()

    for n in range(3):
        await anotify_user(user.pk, {"type": "notification", "n": n})

    assert [await client.receive() for _ in range(3)] == [
        {"type": "notification", "n": n, "seq": n + 1} for n in range(3)
    ]
    await client.disconnect()


async def test_an_event_of_sync_code_arrives(user, access_token, hub):
    """A view, task or command on another thread reaches the socket."""
    client = Client(token=access_token)
    await client.ready()

    await sync_to_async(notify_user)(user.pk, {"n": 1})
    await sync_to_async(notify_users)([user.pk], {"n": 2})

    assert await client.receive() == {"n": 1, "seq": 1}
    assert await client.receive() == {"n": 2, "seq": 2}
    await client.disconnect()


async def test_an_event_that_is_not_durable_has_no_number(user, access_token, hub):
    """A signal reaches who listens now, and leaves no row."""
    client = Client(token=access_token)
    await client.ready()

    assert await anotify_user(user.pk, {"type": "typing"}, durable=False) is None

    assert await client.receive() == {"type": "typing"}
    assert not await UserEvent.objects.aexists()
    await client.disconnect()


async def test_nobody_gets_the_events_of_another(user, other_user, access_token, hub):
    """A user's socket stays silent when somebody else is notified."""
    client = Client(token=access_token)
    await client.ready()

    await anotify_user(other_user.pk, {"n": 1})

    assert await client.silent()
    await client.disconnect()


async def test_sync_code_on_the_event_loop_is_told_what_to_await(user):
    """`notify_user` would block every socket, so it names `anotify_user` instead."""
    with pytest.raises(RuntimeError, match="anotify_user"):
        notify_user(user.pk, {"n": 1})


async def test_a_client_continues_where_it_was(user, access_token, hub):
    """`since` and `epoch` bring everything that came in between, then what comes next."""
    epoch = str((await UserStream.objects.acreate(user=user)).epoch)
    for n in range(5):
        await anotify_user(user.pk, {"n": n})
    client = Client(token=access_token, since=2, epoch=epoch)

    assert (await client.ready())["seq"] == 2
    assert [(await client.receive())["seq"] for _ in range(3)] == [3, 4, 5]
    await anotify_user(user.pk, {"n": 5})
    assert (await client.receive())["seq"] == 6
    await client.disconnect()


async def test_a_position_that_is_gone_leads_to_a_reset(user, access_token, hub, subtests):
    """A client that cannot continue is told so, and from where on it gets everything."""
    await anotify_user(user.pk, {"n": 1})
    await anotify_user(user.pk, {"n": 2})
    await UserStream.objects.filter(pk=user.pk).aupdate(trimmed=1)
    own = str((await UserStream.objects.aget(pk=user.pk)).epoch)

    queries: dict[str, dict[str, Any]] = {
        "no epoch": {"since": 1},
        "other epoch": {"since": 1, "epoch": uuid4()},
        "bad epoch": {"since": 1, "epoch": "nonsense"},
        "bad since": {"since": "x", "epoch": own},
        "negative": {"since": -1, "epoch": own},
        "future": {"since": 99, "epoch": own},
        "trimmed": {"since": 0, "epoch": own},
    }
    for case, query in queries.items():
        with subtests.test(case):
            client = Client(token=access_token, **query)

            ready, reset = await client.ready(), await client.receive()

            assert ready["seq"] == 2
            assert reset == {"type": "realtime.reset", "epoch": own, "seq": 2}
            assert await client.silent()
            await client.disconnect()


async def test_a_backlog_that_is_too_long_leads_to_a_reset(user, access_token, hub, settings):
    """Beyond the replay limit the client is told to refetch."""
    settings.REALTIME_REPLAY_LIMIT = 2
    epoch = str((await UserStream.objects.acreate(user=user)).epoch)
    for n in range(3):
        await anotify_user(user.pk, {"n": n})
    client = Client(token=access_token, since=0, epoch=epoch)

    await client.ready()

    assert (await client.receive())["type"] == "realtime.reset"
    await client.disconnect()


# Authentication


async def test_a_bearer_subprotocol_authenticates(access_token, hub):
    """A browser may put the token where no log shows it, and gets `bearer` back."""
    client = Client(subprotocols=["bearer", access_token])

    assert await client.connect() == "bearer"
    assert (await client.receive())["type"] == "realtime.ready"
    await client.disconnect()


async def test_a_bad_token_closes_with_4401(hub, subtests):
    """The socket is accepted and then closed, so that a browser sees the code."""
    for token in ("", "nonsense", "\ud800".encode("utf-8", "surrogatepass")):
        with subtests.test(token=token):
            client = Client(token=token)

            await client.connect()

            assert await client.close_code() == 4401


async def test_a_refresh_token_is_no_access_token(user, hub):
    """Only access tokens open a socket."""
    client = Client(token=(await sync_to_async(tokens.issue)(user)).refresh)

    await client.connect()

    assert await client.close_code() == 4401


async def test_a_socket_ends_with_its_token(user, hub, monkeypatch):
    """An open socket closes when the token that opened it expires."""
    # However slow the machine is, the token is good for long enough to connect with it.
    clock = SimpleNamespace(now=lambda: timezone.now() + timedelta(seconds=599.5))
    monkeypatch.setattr("realtime.consumers.timezone", clock)
    client = Client(token=token_for(user, seconds=600))
    await client.ready()

    assert await client.close_code() == 4401


async def test_a_fresh_token_extends_a_socket(user, access_token, hub):
    """`realtime.authenticate` replaces the expiry of the first token."""
    client = Client(token=token_for(user, minutes=1))
    before = (await client.ready())["expires_at"]

    await client.send(type="realtime.authenticate", token=access_token)

    answer = await client.receive()
    assert answer["type"] == "realtime.authenticated"
    assert answer["expires_at"] > before
    await client.disconnect()


@pytest.mark.parametrize("whose", ["nobody", "somebody else"])
async def test_a_fresh_token_must_be_the_users_own(user, other_user, access_token, hub, whose):
    """A socket never changes hands."""
    client = Client(token=access_token)
    await client.ready()
    other = (await sync_to_async(tokens.issue)(other_user)).access

    await client.send(type="realtime.authenticate", token=other if whose != "nobody" else 7)

    assert await client.close_code() == 4401


async def test_logout_closes_the_users_sockets(no_tick, user, other_user, access_token, hub):
    """When a user's access ends, all their sockets do, and nobody else's."""
    mine = Client(token=access_token)
    theirs = Client(token=(await sync_to_async(tokens.issue)(other_user)).access)
    await mine.ready()
    await theirs.ready()

    await sync_to_async(user.revoke_access)()

    assert await mine.close_code() == 4401
    assert await theirs.silent()
    await theirs.disconnect()


async def test_the_tick_closes_sockets_of_users_whose_access_ended(
    quick_tick, user, access_token, hub
):
    """Where the channel layer did not say so, the next tick does."""
    client = Client(token=access_token)
    await client.ready()

    await type(user).objects.filter(pk=user.pk).aupdate(is_active=False)

    assert await client.close_code() == 4401


# Origins and paths


async def test_own_pages_and_native_clients_may_connect(access_token, hub, subtests):
    """A missing origin is allowed, one of an allowed host too."""
    for headers in (
        [],
        [(b"origin", b"http://localhost:3000")],
        [(b"origin", b"https://testserver")],
    ):
        with subtests.test(headers=headers):
            client = Client(token=access_token, headers=headers)

            await client.ready()

            await client.disconnect()


async def test_pages_of_others_are_refused_before_the_handshake(access_token, subtests):
    """A page of another site gets 403 and no socket."""
    for origin in (b"https://evil.example", b"null", b"localhost.evil.example"):
        with subtests.test(origin=origin):
            communicator = WebsocketCommunicator(
                get_default_application(),
                f"/ws/realtime/?token={access_token}",
                headers=[(b"origin", origin)],
            )

            accepted, _ = await communicator.connect(PATIENCE)

            assert not accepted


def test_which_pages_may_connect(settings, subtests):
    """A host stands for all schemes and ports, with a dot for subdomains; an origin is exact."""
    settings.WEBSOCKET_ALLOWED_ORIGINS = [
        ".example.com",
        "https://app.example.org:8443",
        "https://example.net",
    ]

    for origin, may in (
        ("https://example.com", True),
        ("http://www.example.com:8080", True),
        ("https://example.com.evil.example", False),
        ("https://badexample.com", False),
        ("https://example.com@evil.example", False),
        ("https://app.example.org:8443", True),
        ("https://app.example.org", False),
        ("http://app.example.org:8443", False),
        ("https://www.app.example.org:8443", False),
        ("https://example.net:443", True),
        ("http://example.net", False),
    ):
        with subtests.test(origin=origin):
            assert OriginCheck(None).valid_origin(urlparse(origin)) is may


async def test_an_unknown_path_closes_with_4404(subtests):
    """There is no traceback, and a browser sees the code."""
    for path in ("/ws/", "/ws/nothing/", "/elsewhere/"):
        with subtests.test(path=path):
            client = Client(path)

            await client.connect()

            assert await client.close_code() == 4404


# What the client sends


async def test_a_ping_is_answered(access_token, hub):
    """A client can ask whether the connection still lives."""
    client = Client(token=access_token)
    await client.ready()

    assert await client.silent()
    await client.disconnect()


async def test_a_frame_that_cannot_be_used_is_answered(access_token, hub, subtests):
    """The socket stays open and the client learns what was wrong."""
    client = Client(token=access_token)
    await client.ready()

    for frame, code in (
        ("nonsense", "not_json"),
        ("[" * 20_000, "not_json"),
        ("1" * 5_000, "not_json"),
        ("[]", "no_type"),
        ("{}", "no_type"),
        ('{"type": 7}', "no_type"),
        ('{"type": "\\ud800"}', "unknown_type"),
        ('{"type": "realtime.unknown"}', "unknown_type"),
    ):
        with subtests.test(frame=frame[:30]):
            await client.communicator.send_to(text_data=frame)

            answer = await client.receive()
            assert (answer["type"], answer["code"]) == ("realtime.error", code)
            assert await client.silent()
    await client.disconnect()
