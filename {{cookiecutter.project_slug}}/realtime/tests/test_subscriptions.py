"""Many streams on one socket. The one that every project has is the user's own, `realtime`."""

from typing import Any
from uuid import uuid4

import pytest
from django.urls import path

from realtime.consumers import RealtimeConsumer
from realtime.models import Connection, UserStream
from realtime.notification import anotify_user

# Another name of the same stream, for the test of how many there may be.
urlpatterns = [path(f"ws/{name}/", RealtimeConsumer.as_asgi()) for name in ("realtime", "other")]

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_subscription_names_its_stream_in_every_frame(ada, user):
    """The user's events come bare, as those of the path, and named, as those subscribed to."""
    begun = await ada.subscribe("realtime")
    await anotify_user(user.pk, {"n": 1})

    assert begun["seq"] == 0
    assert "present" not in begun, "this stream does not tell of presence"
    events = [await ada.receive() for _ in range(2)]
    bare = {"n": 1, "seq": 1}
    assert sorted(events, key=len) == [bare, {**bare, "stream": "realtime"}]


async def test_what_there_is_not_concerns_no_other(ada, user, subtests):
    """A name without a stream is answered with 4404, and the others begin."""
    names = [
        "",
        "nowhere",
        "/realtime",
        "realtime/",
        "realtime/x",
        "../realtime",
        "x" * 300,
        "a\0b",
    ]
    await ada.send(
        type="realtime.subscribe", streams=[{"stream": name} for name in [*names, "realtime"]]
    )

    answers = [await ada.receive() for _ in range(len(names) + 1)]

    refused = {one["stream"]: one["code"] for one in answers if "code" in one}
    assert refused == dict.fromkeys(names, 4404)
    assert [one["stream"] for one in answers if "epoch" in one] == ["realtime"]
    assert await ada.silent()


async def test_a_subscription_continues_where_it_was(ada, user):
    """`since` and `epoch` mean what they mean in the address of a socket."""
    for n in range(3):
        await anotify_user(user.pk, {"n": n})
        await ada.receive()
    epoch = str((await UserStream.objects.aget()).epoch)

    begun = await ada.subscribe("realtime", since=1, epoch=epoch)

    assert begun["seq"] == 1
    assert [(await ada.receive())["seq"] for _ in range(2)] == [2, 3]
    assert await ada.silent()


async def test_a_position_that_is_gone_leads_to_a_reset(ada, user, subtests):
    """The reset names the stream, and concerns no other."""
    await anotify_user(user.pk, {"n": 1})
    await ada.receive()
    for since, epoch in ((0, str(uuid4())), (0, None), ("x", str(uuid4())), (True, 7), (-1, {})):
        with subtests.test(since=since, epoch=epoch):
            await ada.subscribe("realtime", since=since, epoch=epoch)

            reset = await ada.receive()
            assert (reset["type"], reset["stream"]) == ("realtime.reset", "realtime")
            assert reset["seq"] == 1
    assert await ada.silent()


async def test_who_unsubscribes_hears_nothing_more(ada, user):
    """The end is confirmed, also of what was not subscribed to; the path's stream goes on."""
    await ada.subscribe("realtime")

    await ada.send(type="realtime.unsubscribe", streams=["realtime", "nowhere"])

    ends = [await ada.receive() for _ in range(2)]
    assert [(end["stream"], end["code"]) for end in ends] == [("realtime", 1000), ("nowhere", 1000)]
    await anotify_user(user.pk, {"n": 1})
    assert await ada.receive() == {"n": 1, "seq": 1}
    assert await ada.silent()


async def test_who_subscribes_again_starts_anew(ada, user):
    """There is one subscription by a name, from the position asked for last."""
    for _ in range(2):
        await ada.subscribe("realtime")

    await anotify_user(user.pk, {"n": 1})

    assert {len(await ada.receive()) for _ in range(2)} == {2, 3}
    assert await ada.silent()


async def test_a_socket_has_so_many_subscriptions_and_no_more(ada, settings, monkeypatch):
    """One more is answered with 4429; a place that is free is used again."""
    settings.REALTIME_SUBSCRIPTIONS_PER_SOCKET = 1
    monkeypatch.setattr("realtime.consumers.URLCONF", __name__)
    await ada.subscribe("realtime")

    await ada.send(type="realtime.subscribe", streams=[{"stream": "other"}])
    assert (await ada.receive())["code"] == 4429
    await ada.send(type="realtime.unsubscribe", streams=["realtime"])
    await ada.receive()

    assert (await ada.subscribe("other"))["seq"] == 0


async def test_what_cannot_be_read_is_answered(ada, subtests):
    """The error says what is expected, and the socket stays open."""
    wrong: list[Any] = [None, {}, ["realtime"], [{}], [{"stream": 7}], [{"stream": "x"}] * 101]
    for streams in wrong:
        with subtests.test(streams=str(streams)[:20]):
            await ada.send(type="realtime.subscribe", streams=streams)
            assert (await ada.receive())["code"] == "no_streams"
    for names in ("realtime", [7], ["x"] * 101):
        with subtests.test(names=str(names)[:20]):
            await ada.send(type="realtime.unsubscribe", streams=names)
            assert (await ada.receive())["code"] == "no_streams"


async def test_half_of_a_character_in_a_name_ends_nothing(ada, subtests):
    """A lone surrogate, which JSON can write and UTF-8 cannot: answered like any other name."""
    for event in (
        {"type": "realtime.subscribe", "streams": [{"stream": "\ud800"}]},
        {"type": "realtime.unsubscribe", "streams": ["\ud800"]},
        {"type": "x", "stream": "\ud800"},
    ):
        with subtests.test(type=event["type"]):
            await ada.send(**event)
            assert (await ada.receive())["stream"] == "\ud800"
    assert await ada.silent()


async def test_a_frame_for_another_stream_names_it(ada, subtests):
    """One for a stream that is not subscribed to is answered, under the name that it had."""
    for name in ("realtime", 7, None):
        with subtests.test(name=name):
            await ada.send(type="x", stream=name)
            error = await ada.receive()
            assert error["code"] == "not_subscribed"
            assert error.get("stream") == (name if isinstance(name, str) else None)
    await ada.subscribe("realtime")
    await ada.send(type="x", stream="realtime")
    assert (await ada.receive())["code"] == "unknown_type"


async def test_a_subscription_without_presence_has_no_row(ada):
    """Streams that do not tell who is present cost the database nothing."""
    await ada.subscribe("realtime")

    assert await Connection.objects.acount() == 1
