"""The hub against hints that are lost, doubled, late or of another history."""

import asyncio
import json
import uuid

import pytest
from asgiref.sync import sync_to_async

from realtime import streams
from realtime.bus import Hint, publisher
from realtime.frames import Frame
from realtime.models import UserEvent, UserStream
from realtime.streams import append, hint

from .sockets import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


class Recorder:
    """A socket that keeps what it gets."""

    def __init__(self, user):
        self.user_id, self.token_version = user.pk, user.token_version
        self.frames: list[Frame] = []
        self.writes = 0
        self.code: int | None = None

    def write(self, frames, wire):
        assert wire == b"".join(frame.wire for frame in frames)
        self.frames.extend(frames)
        self.writes += 1

    def end(self, code):
        self.code = self.code or code

    def subscribed(self, subscription):
        self.begun = subscription

    def unsubscribed(self, subscription, code):
        self.end(code)

    async def drained(self):
        await asyncio.sleep(0)

    @property
    def seqs(self):
        return [frame.seq for frame in self.frames]

    async def until(self, condition):
        """Wait for a condition; the tests' only clock is their patience."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self):  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
def unpublished(monkeypatch):
    """Keep hints from being published: the channel layer loses everything."""
    hints: list[Hint] = []
    monkeypatch.setattr(publisher, "publish", hints.extend)
    return hints


@pytest.fixture
async def stream(user):
    """The stream of `user`."""
    return await UserStream.objects.acreate(user=user)


@pytest.fixture
def write(stream):
    """Append events to `stream` without a hint reaching anybody."""

    async def write(count=1):
        for _ in range(count):
            await sync_to_async(append)(UserStream, stream.pk, {"n": 0})

    return write


async def follow(hub, user, stream, since=None):
    """Let a new recorder follow the stream from a position that it has, once it starts."""
    recorder = Recorder(user)
    subscription = hub.follow(recorder, stream)
    if since is not None:
        subscription.ask(since, str(stream.epoch))
    # What the hub would do next; nothing else is under way when a test begins.
    await hub._check_new()
    return recorder, subscription


def hint_of(stream, seq, **changes):
    """Return the hint of an event."""
    return {**hint(stream, json.dumps({"seq": seq}), seq), **changes}


async def test_the_next_event_is_delivered_from_its_hint(no_tick, hub, user, stream):
    """The hint carries the event, so no query is needed."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()

    hub.hear([hint_of(stream, 1)])
    hub.hear([hint_of(stream, 2)])
    await recorder.until(lambda r: r.seqs == [1, 2])

    assert recorder.writes == 1, "frames of one turn of the loop leave in one write"


async def test_a_doubled_or_late_hint_is_dropped(no_tick, hub, user, stream):
    """Each event is delivered once."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()

    for seq in (1, 1, 2, 1, 3):
        hub.hear([hint_of(stream, seq)])
    await recorder.until(lambda r: len(r.seqs) >= 3)

    assert recorder.seqs == [1, 2, 3]


async def test_a_lost_hint_is_read_from_the_database(
    no_tick, hub, user, stream, unpublished, write
):
    """A hint that is further ahead brings everything before it, once."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(5)

    hub.hear([unpublished[4]])
    hub.hear([unpublished[3]])
    await recorder.until(lambda r: len(r.seqs) >= 5)

    assert recorder.seqs == [1, 2, 3, 4, 5]


async def test_another_epoch_resets_live_sockets(no_tick, hub, user, stream, unpublished, write):
    """When the history changes, live clients are told, and go on from its head."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(2)
    stream.epoch = uuid.uuid4()
    await UserStream.objects.filter(pk=stream.pk).aupdate(epoch=stream.epoch)

    hub.hear([hint_of(stream, 2)])
    await recorder.until(lambda r: any("realtime.reset" in frame.text for frame in r.frames))
    await write(1)
    hub.hear([unpublished[2]])
    await recorder.until(lambda r: r.seqs[-1] == 3)

    assert str(stream.epoch) in recorder.frames[-2].text


async def test_trimmed_events_reset_live_sockets(no_tick, hub, user, stream, unpublished, write):
    """What was deleted before it could be read is a reset, never a silent gap."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(3)
    await UserEvent.objects.filter(seq__lt=3).adelete()

    hub.hear([unpublished[2]])
    await recorder.until(lambda r: r.frames)

    assert '"realtime.reset"' in recorder.frames[0].text
    assert hub.feeds[stream.group].last == 3


async def test_the_tick_finds_what_was_never_announced(
    quick_tick, hub, user, stream, unpublished, write
):
    """A publisher that died between commit and hint costs one tick."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(3)

    await recorder.until(lambda r: r.seqs == [1, 2, 3])


async def test_a_deleted_stream_closes_its_sockets(quick_tick, hub, user, stream):
    """Followers of a stream that is gone are told with 4404."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()

    await stream.adelete()

    await recorder.until(lambda r: r.code == 4404)


# Subscriptions that have to catch up


# The channel layer


async def test_a_user_can_be_left_out(no_tick, hub, user, other_user, stream):
    """A signal may spare the one who caused it."""
    mine, subscription = await follow(hub, user, stream)
    subscription.start()
    theirs, subscription = await follow(hub, other_user, stream)
    subscription.start()

    streams.signal(type(stream), stream.pk, {"type": "typing"}, exclude_user=user.pk)
    await asyncio.sleep(0)

    assert (len(mine.frames), len(theirs.frames)) == (0, 1)
