"""The publisher: bounded, patient, and safe under threads and forks."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from unittest.mock import AsyncMock, Mock

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from realtime import bus as module
from realtime.bus import Publisher, Sender, send_batch
from realtime.tests.test_libraries import Published


@pytest.fixture
def publisher(unreliable_layer):
    """A publisher of its own on a layer that can fail."""
    publisher = Publisher()
    yield publisher
    publisher.close()


def until(condition):
    """Wait for a condition."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def heard(layer, count):
    """Listen to the group `g` and return what arrives."""
    channel = await layer.new_channel("test.")
    await layer.group_add("g", channel)
    return [await layer.receive(channel) for _ in range(count)]


def listen(layer, count):
    """Start listening on another thread; give what it hears once it is joined."""
    result = []
    thread = threading.Thread(
        target=lambda: result.extend(asyncio.run(asyncio.wait_for(heard(layer, count), 10)))
    )
    thread.start()
    until(lambda: layer.groups.get("g"))
    return thread, result


def test_hints_leave_in_order_from_any_thread(publisher, unreliable_layer):
    """What threads publish arrives, each thread's hints in their order."""
    thread, result = listen(unreliable_layer(), 40)

    def publish(name):
        for number in range(10):
            publisher.publish([{"group": "g", "name": name, "number": number}])

    writers = [threading.Thread(target=publish, args=[name]) for name in range(4)]
    for writer in writers:
        writer.start()
    thread.join()

    for name in range(4):
        numbers = [hint["number"] for hint in result if hint["name"] == name]
        assert numbers == list(range(10))


def test_a_layer_that_fails_never_reaches_the_caller(publisher, unreliable_layer, caplog):
    """Hints that cannot be sent are dropped with one warning, and later ones go through."""
    unreliable_layer.mood = "fail"
    for count in (1, 2):
        publisher.publish([{"group": "g"}])
        until(lambda count=count: unreliable_layer.refused == count)
    unreliable_layer.mood = "deliver"
    thread, result = listen(unreliable_layer(), 1)

    publisher.publish([{"group": "g", "n": 1}])
    thread.join()

    assert result == [{"group": "g", "n": 1, "origin": publisher.origin}]
    assert sum("the channel layer fails" in record.message for record in caplog.records) == 1


def test_the_queue_is_bounded(publisher, monkeypatch):
    """While nothing can be sent, the oldest hints make room for the newest."""
    monkeypatch.setattr(publisher, "_wake_sender", lambda: None)
    monkeypatch.setattr(module, "WAIT_SECONDS", 0)

    publisher.publish([{"n": n} for n in range(module.QUEUE_SIZE + 1)])

    assert len(publisher._queue) == module.QUEUE_SIZE
    assert publisher._queue[0] == {"n": 1}
    publisher._queue.clear()


def test_a_caller_that_is_too_fast_waits(unreliable_layer, monkeypatch):
    """It does not push out of the queue what it has put there itself."""
    monkeypatch.setattr(module, "QUEUE_SIZE", 50)
    monkeypatch.setattr(module, "HIGH_WATER", 20)
    monkeypatch.setattr(module, "LOW_WATER", 5)
    publisher = Publisher()
    thread, result = listen(unreliable_layer(), 1000)

    for n in range(1000):
        publisher.publish([{"group": "g", "n": n}])
    thread.join()
    publisher.close()

    assert [hint["n"] for hint in result] == list(range(1000))


async def test_who_must_not_wait_does_not(publisher, monkeypatch):
    """An event loop never waits for space, and nobody does for a layer that fails."""
    monkeypatch.setattr(publisher, "_wake_sender", lambda: None)
    monkeypatch.setattr(publisher, "_space", Mock())
    hints = [{"n": n} for n in range(module.HIGH_WATER + 1)]

    publisher.publish(hints)
    assert publisher._space.wait.call_count == 0
    await asyncio.to_thread(publisher.publish, hints)
    assert publisher._space.wait.call_count == 1
    publisher._failing = True
    await asyncio.to_thread(publisher.publish, hints)
    assert publisher._space.wait.call_count == 1
    publisher._queue.clear()


def test_what_waits_is_sent_at_the_end(publisher, unreliable_layer):
    """Closing drains the queue: a command that ends at once loses nothing."""
    thread, result = listen(unreliable_layer(), 3)

    publisher.publish([{"group": "g", "n": n} for n in range(3)])
    publisher.close()
    thread.join()

    assert len(result) == 3


def test_closing_an_unused_publisher_is_nothing(publisher):
    """There is no thread to wait for."""
    publisher.close()

    assert publisher._sender is None


async def test_an_event_loop_can_take_the_place_of_the_thread(publisher, unreliable_layer):
    """From then on its loop sends, threads wake it, and it can go in peace."""
    thread, result = await asyncio.to_thread(listen, unreliable_layer(), 5)
    await asyncio.to_thread(publisher.publish, [{"group": "g", "n": 0}])
    before = publisher._sender
    assert before.thread is not None

    draining = asyncio.create_task(publisher.send_from_here())
    await asyncio.to_thread(before.thread.join, 10)
    publisher.publish([{"group": "g", "n": 1}])
    await asyncio.to_thread(publisher.publish, [{"group": "g", "n": 2}])
    assert publisher._sender.loop is asyncio.get_running_loop()

    publisher.publish([{"group": "g", "n": 3}])
    publisher.hand_back()
    await asyncio.wait_for(draining, 10)
    await asyncio.to_thread(publisher.publish, [{"group": "g", "n": 4}])
    await asyncio.to_thread(thread.join)

    assert not before.thread.is_alive()
    assert sorted(hint["n"] for hint in result) == [0, 1, 2, 3, 4]
    assert publisher._sender.thread is not None


def test_what_an_ended_event_loop_left_behind_is_sent_at_the_end(publisher, unreliable_layer):
    """A server whose loop has stopped, though not closed, loses nothing that was queued."""
    thread, result = listen(unreliable_layer(), 1)
    loop = asyncio.new_event_loop()
    draining = loop.create_task(publisher.send_from_here())
    loop.run_until_complete(asyncio.sleep(0))
    publisher.publish([{"group": "g", "n": 1}])

    publisher.close()
    thread.join()

    assert [hint["n"] for hint in result] == [1]
    draining.cancel()
    loop.run_until_complete(asyncio.gather(draining, return_exceptions=True))
    loop.close()


async def test_an_event_loop_that_ends_its_tasks_is_replaced(publisher, unreliable_layer):
    """What it had been told of but not sent yet leaves with the next hint."""
    draining = asyncio.create_task(publisher.send_from_here())
    await asyncio.sleep(0)
    publisher.publish([{"group": "g", "n": 1}])
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)
    thread, result = await asyncio.to_thread(listen, unreliable_layer(), 2)

    await asyncio.to_thread(publisher.publish, [{"group": "g", "n": 2}])
    await asyncio.to_thread(thread.join)

    assert [hint["n"] for hint in result] == [1, 2]


def fail(*arguments):
    """Stand in for what the operating system refuses."""
    raise RuntimeError("no more of these")


@pytest.mark.parametrize(
    "refused",
    [
        "threading.Thread.start",
        "asyncio.events.new_event_loop",
        "realtime.bus.channel_layers.make_backend",
    ],
)
def test_a_thread_that_cannot_work_is_not_the_last(
    publisher, unreliable_layer, monkeypatch, caplog, refused
):
    """Where there was no thread, event loop or layer to be had, the next hint asks again."""
    assert not module.layer_is_local()
    with monkeypatch.context() as patch:
        patch.setattr(refused, fail)
        publisher.publish([{"group": "g", "n": 1}])
        until(lambda: publisher._failing and publisher._sender is None)
    thread, result = listen(unreliable_layer(), 2)

    publisher.publish([{"group": "g", "n": 2}])
    thread.join()

    assert [hint["n"] for hint in result] == [1, 2]
    assert "no more of these" in caplog.text


def test_two_senders_at_a_time_take_each_hint_once(publisher):
    """While one takes the place of another, both may be at the queue."""
    publisher._queue.extend({"n": n} for n in range(module.QUEUE_SIZE))
    taken: list[module.Hint] = []

    def take():
        while hints := publisher._take():
            taken.extend(hints)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert sorted(hint["n"] for hint in taken) == list(range(module.QUEUE_SIZE))


def test_a_closed_event_loop_is_replaced(publisher, unreliable_layer):
    """An event loop that closed without handing back cannot be woken, so a thread is started."""
    thread, result = listen(unreliable_layer(), 1)
    loop = asyncio.new_event_loop()
    loop.close()
    publisher._sender = Sender(loop)

    publisher.publish([{"group": "g", "n": 1}])
    thread.join()

    assert [hint["n"] for hint in result] == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_publishes_for_itself(publisher, unreliable_layer):
    """A child has neither its parent's thread nor its queue."""
    publisher.publish([{"group": "g"}])
    until(lambda: publisher._sender is not None)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, repr((publisher._sender, len(publisher._queue))).encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(read, 100) == b"(None, 0)"
    os.close(read)
    os.close(write)


def test_a_system_that_does_not_fork_will_do(process_environment):
    """Windows has neither of these functions."""
    code = "import os; del os.fork, os.register_at_fork; import backend.asgi"

    subprocess.run([sys.executable, "-c", code], env=process_environment, check=True)


async def test_a_server_that_is_away_keeps_no_other_waiting():
    """A batch reaches the servers that answer, and then reports the one that does not."""
    layer = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1/0", "redis://127.0.0.1:2/0"])
    away, there = AsyncMock(), Published()
    away.eval.side_effect = ConnectionError("away")
    for shard, redis in zip(layer._get_layer()._shards, [away, there], strict=True):
        shard._redis = redis

    with pytest.raises(ConnectionError, match="away"):
        await send_batch(layer, [{"group": f"group.{n}", "n": n} for n in range(64)])

    assert away.eval.await_count == 1
    assert 0 < len(there.sent) < 64
    for shard in layer._get_layer()._shards:
        shard._redis = None
