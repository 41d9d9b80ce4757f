"""The hub against hints that are lost, doubled, late or of another history."""

import asyncio
import uuid

import pytest
from asgiref.sync import sync_to_async
from realtime import streams
from realtime.feed import Subscription
from realtime.frames import Frame, Tail
from realtime.hub import Hub
from realtime.models import UserEvent, UserStream
from realtime.streams import append
from realtime.tests.sockets import PATIENCE
from realtime.tests.test_hub import Recorder, follow, hint_of

pytestmark = pytest.mark.django_db(transaction=True)


async def go_live(subscription: Subscription) -> None:
    """Let a subscription start, and wait until it is live or has ended."""
    if not subscription.is_live:
        subscription.start()
    async with asyncio.timeout(PATIENCE):
        while not subscription.is_live and subscription in subscription.feed.followers:
            await asyncio.sleep(0.005)


async def test_an_event_is_framed_once_for_all_sockets(no_tick, hub, user, stream):
    """However many follow a stream, each gets the very same bytes."""
    followers = [await follow(hub, user, stream) for _ in range(3)]
    for _, subscription in followers:
        subscription.start()

    hub.hear([hint_of(stream, 1)])
    recorders = [recorder for recorder, _ in followers]
    for recorder in recorders:
        await recorder.until(lambda r: r.seqs == [1])

    assert len({id(recorder.frames[0].wire) for recorder in recorders}) == 1


async def test_hints_during_a_read_raise_what_is_wanted(
    no_tick, hub, user, stream, unpublished, write, monkeypatch
):
    """One read is in flight at a time; what arrives meanwhile is neither lost nor doubled."""
    monkeypatch.setattr("realtime.streams.PAGE_SIZE", 2)
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(4)

    hub.hear([unpublished[1]])
    await write(3)
    for number in range(7):
        hub.hear([unpublished[number]])
    await recorder.until(lambda r: len(r.seqs) >= 7)

    assert recorder.seqs == [1, 2, 3, 4, 5, 6, 7]


async def test_a_hint_that_promises_too_much_is_forgotten(no_tick, hub, user, stream):
    """A number beyond the database's head does not make the hub read for ever."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    feed = hub.feeds[stream.group]

    hub.hear([hint_of(stream, 50)])
    async with asyncio.timeout(PATIENCE):
        while feed.reading:
            await feed.moved()

    assert (feed.last, feed._wanted, recorder.seqs) == (0, 0, [])


async def test_events_before_the_group_was_joined_arrive(
    no_tick, hub, user, stream, unpublished, write
):
    """What is written between the first read and the joining of the group is read again."""
    await write(2)
    recorder = Recorder(user)
    assert stream.head == 0, "it was read before"
    hub.follow(recorder, stream).start()

    await recorder.until(lambda r: r.seqs == [1, 2])


async def test_a_hint_that_comes_during_a_reset_is_not_forgotten(
    no_tick, hub, user, stream, unpublished, write, monkeypatch
):
    """What is written while a feed starts over arrives after the reset, without the tick."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(2)
    await UserEvent.objects.filter(seq=1).adelete()
    read, late = streams.texts_after, iter([True])

    def write_after(*args):
        texts = read(*args)
        if next(late, False):
            append(UserStream, stream.pk, {"n": 0})
            hub.loop.call_soon_threadsafe(hub.hear, [unpublished[2]])
        return texts

    monkeypatch.setattr(streams, "texts_after", write_after)

    hub.hear([unpublished[1]])
    await recorder.until(lambda r: r.frames)

    await recorder.until(lambda r: r.seqs[-1] == 3)


async def test_the_tick_notices_an_older_database(
    quick_tick, hub, user, stream, unpublished, write
):
    """A restored backup, whose head is behind, leads to a reset."""
    await write(3)
    await stream.arefresh_from_db()
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()

    await UserStream.objects.filter(pk=stream.pk).aupdate(head=1)

    await recorder.until(lambda r: r.frames)
    assert '"seq":1' in recorder.frames[0].text


async def test_a_stream_deleted_during_a_read_closes_its_sockets(no_tick, hub, user, stream):
    """A read that finds no row ends the same way."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await stream.adelete()
    stream.pk = user.pk

    hub.hear([hint_of(stream, 2)])

    await recorder.until(lambda r: r.code == 4404)


async def test_idle_feeds_are_forgotten_at_the_tick(quick_tick, hub, user, stream):
    """A feed outlives its last socket by a tick, for one that comes back."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()

    subscription.stop()
    assert stream.group in hub.feeds

    await recorder.until(lambda r: not hub.feeds)


async def test_a_database_that_fails_is_asked_again(
    no_tick, hub, user, stream, unpublished, write, monkeypatch
):
    """A read that fails is repeated until it works."""
    monkeypatch.setattr("realtime.hub.RETRY_SECONDS", 0.01)
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(2)
    read, failures = streams.texts_after, iter([True, True, False])
    monkeypatch.setattr(
        streams,
        "texts_after",
        lambda *args: 1 / 0 if next(failures, False) else read(*args),
    )

    hub.hear([unpublished[1]])

    await recorder.until(lambda r: r.seqs == [1, 2])


async def test_a_tick_that_fails_is_not_the_last(quick_tick, hub, user, stream, monkeypatch):
    """A database that restarts during the tick does not end the repairs."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    positions, calls = streams.positions, []

    def fail_once(*args):
        calls.append(args)
        return positions(*args) if len(calls) > 1 else 1 / 0

    monkeypatch.setattr(streams, "positions", fail_once)

    await recorder.until(lambda r: len(calls) > 2)


# Subscriptions that have to catch up


async def test_a_socket_that_knows_more_than_the_feed_waits_for_it(
    no_tick, hub, user, stream, unpublished, write
):
    """A row that was read after the feed's last read does not lead to a gap or a duplicate."""
    first, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(3)
    await stream.arefresh_from_db()
    second, subscription = await follow(hub, user, stream)

    subscription.start()
    assert not subscription.is_live
    async with asyncio.timeout(PATIENCE):
        while not subscription.is_live:
            await asyncio.sleep(0.005)
    await first.until(lambda r: r.seqs == [1, 2, 3])

    assert second.seqs == []


async def test_a_replay_whose_events_are_gone_resets(
    no_tick, hub, user, stream, unpublished, write
):
    """Events that are trimmed while a client replays lead to a reset."""
    await write(3)
    await stream.arefresh_from_db()
    recorder, subscription = await follow(hub, user, stream, since=0)
    await UserEvent.objects.filter(seq__lt=3).adelete()

    await go_live(subscription)

    assert '"realtime.reset"' in recorder.frames[0].text
    assert subscription.is_live


async def test_a_replay_of_a_deleted_stream_ends(no_tick, hub, user, stream, unpublished, write):
    """A stream that disappears during a replay closes the socket."""
    await write(3)
    await stream.arefresh_from_db()
    recorder, subscription = await follow(hub, user, stream, since=0)
    await UserStream.objects.all().adelete()

    await go_live(subscription)

    assert recorder.code == 4404


async def test_a_replay_survives_a_database_that_fails(
    no_tick, hub, user, stream, unpublished, write, monkeypatch
):
    """A socket that is replaying when the database restarts goes on when it is back."""
    monkeypatch.setattr("realtime.hub.RETRY_SECONDS", 0.01)
    await write(3)
    await stream.arefresh_from_db()
    recorder, subscription = await follow(hub, user, stream, since=0)
    read, failures = streams.texts_after, iter([True, True])
    monkeypatch.setattr(
        streams, "texts_after", lambda *args: 1 / 0 if next(failures, False) else read(*args)
    )

    await go_live(subscription)

    assert recorder.seqs == [1, 2, 3]


async def test_an_epoch_that_changes_during_a_replay_resets(
    no_tick, hub, user, stream, unpublished, write
):
    """A replay never mixes two histories."""
    await write(3)
    await stream.arefresh_from_db()
    recorder, subscription = await follow(hub, user, stream, since=0)
    await UserStream.objects.aupdate(epoch=uuid.uuid4())

    await go_live(subscription)

    assert '"realtime.reset"' in recorder.frames[-1].text
    assert None in recorder.seqs
    assert 3 not in recorder.seqs


async def test_a_socket_of_a_newer_history_makes_the_feed_look(
    no_tick, hub, user, stream, unpublished, write
):
    """The feed starts over when a socket has read another epoch than it knows."""
    _, subscription = await follow(hub, user, stream)
    subscription.start()
    await write(2)
    await UserStream.objects.aupdate(epoch=uuid.uuid4())
    renewed = await UserStream.objects.aget(pk=stream.pk)

    second, subscription = await follow(hub, user, renewed)
    await go_live(subscription)

    assert second.frames == []
    assert hub.feeds[stream.group].epoch == str(renewed.epoch)
    assert hub.feeds[stream.group].last == 2


# The channel layer


async def test_hints_come_through_the_layer(unreliable_layer, no_tick, hub, user, stream, write):
    """The hub joins the group of what it follows."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await recorder.until(lambda r: hub.receiver.has_joined(stream.group))

    await write(2)

    await recorder.until(lambda r: r.seqs == [1, 2])


async def test_a_layer_that_fails_delays_but_loses_nothing(
    unreliable_layer, hub, user, stream, write
):
    """Events arrive with the tick while the layer is down, and at once when it is back."""
    unreliable_layer.mood = "fail"
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()

    await write(2)
    await recorder.until(lambda r: r.seqs == [1, 2])
    unreliable_layer.mood = "deliver"
    await recorder.until(lambda r: hub.receiver.has_joined(stream.group))
    await recorder.until(lambda r: not hub.receiver.failing)
    await write(1)

    await recorder.until(lambda r: r.seqs == [1, 2, 3])


async def test_a_server_that_is_away_keeps_no_other_waiting(
    unreliable_layer, no_tick, hub, user, other_user, stream, monkeypatch
):
    """Groups of the layer's other servers are joined and left all the same."""
    other = await UserStream.objects.acreate(user=other_user)
    add, discard = unreliable_layer.group_add, unreliable_layer.group_discard

    def unless_away(call):
        async def refuse(layer, group, channel):
            if group == stream.group:
                raise ConnectionError("the server of this group is away")
            await call(layer, group, channel)

        return refuse

    monkeypatch.setattr(unreliable_layer, "group_add", unless_away(add))
    monkeypatch.setattr(unreliable_layer, "group_discard", unless_away(discard))

    for follower, each in ((user, stream), (other_user, other)):
        hub.follow(Recorder(follower), each)
    receiver = hub.receiver
    await receiver.join(hub.feeds)
    assert [receiver.has_joined(group) for group in hub.feeds] == [False, True]
    assert unreliable_layer.groups[other.group] == {receiver._channel}

    receiver._joined.add(stream.group)
    await receiver.leave(hub.feeds)
    assert unreliable_layer.groups[other.group] == set()


async def test_a_deaf_layer_is_replaced(unreliable_layer, hub, user, stream, write):
    """Probes that do not come back lead to a new connection to the layer."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await recorder.until(lambda r: hub.receiver.has_joined(stream.group))
    first = hub.receiver._layer

    unreliable_layer.mood = "lose"
    await recorder.until(lambda r: hub.receiver._layer not in (None, first))
    unreliable_layer.mood = "deliver"
    await recorder.until(lambda r: hub.receiver.has_joined(stream.group))

    await write(1)
    await recorder.until(lambda r: r.seqs == [1])


async def test_groups_are_left_with_their_feeds(unreliable_layer, hub, user, stream):
    """A stream that nobody follows any more sends us no hints."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await recorder.until(lambda r: unreliable_layer.groups.get(stream.group))

    subscription.stop()

    await recorder.until(lambda r: not unreliable_layer.groups[stream.group])


async def test_a_layer_that_fails_while_groups_are_left_is_reported(
    unreliable_layer, hub, user, stream
):
    """Leaving a group is not worth more than a warning."""
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await recorder.until(lambda r: hub.receiver.has_joined(stream.group))

    unreliable_layer.mood = "fail"
    subscription.stop()

    await recorder.until(lambda r: hub.receiver.failing and not hub.feeds)


async def test_a_message_that_makes_no_sense_is_survived(
    unreliable_layer, no_tick, hub, user, stream, monkeypatch
):
    """One bad message of the layer does not make the hub deaf."""
    monkeypatch.setattr("realtime.bus.RETRY_SECONDS", 0.01)
    recorder, subscription = await follow(hub, user, stream)
    subscription.start()
    await recorder.until(lambda r: hub.receiver.has_joined(stream.group))

    layer, channel = hub.receiver._layer, hub.receiver._channel
    await layer.send(channel, {"type": "realtime.hint"})
    await layer.send(channel, hint_of(stream, 1))

    await recorder.until(lambda r: r.seqs == [1])


async def test_a_hub_of_a_closed_loop_is_forgotten():
    """Hubs come and go with their event loops."""

    async def meet() -> Hub:
        return Hub.current()

    other = await sync_to_async(lambda: asyncio.run(meet()))()

    assert Hub.current() is not other
    assert other not in Hub._instances.values()
    await Hub.current().close()


async def test_the_tail_is_bounded(no_tick, hub, user, stream):
    """All feeds of a process keep so many bytes, and a feed knows how far back it reaches."""
    hub.tail = Tail(3 * len(Frame('{"seq": 1}').wire), 60, hub.loop)
    _, subscription = await follow(hub, user, stream)
    subscription.start()
    feed = hub.feeds[stream.group]

    for seq in range(1, 6):
        hub.hear([hint_of(stream, seq)])

    assert [frame.seq for frame in feed.after(3)] == [4, 5]
    assert feed.after(1) is None


async def test_the_tail_ends_with_its_age(no_tick, hub, user, stream):
    """What nobody has come back for is let go of."""
    hub.tail = Tail(1_000, 0, hub.loop)
    _, subscription = await follow(hub, user, stream)
    subscription.start()
    feed = hub.feeds[stream.group]

    hub.hear([hint_of(stream, 1)])
    assert feed.after(0) is not None
    await asyncio.sleep(0.02)
    hub.tail.trim()

    assert feed.after(0) is None
    assert hub.tail._bytes == 0
