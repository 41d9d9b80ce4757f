"""Does what the tests order, several jobs at a time, each in a thread of its own.

Orders are lines of JSON on standard input, answers lines of JSON on standard output; it ends with
its input. Every public function that takes a `job` is a job, here and in `rooms.py`.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import threading
import time

import django


class Job:
    """A job that is being done."""

    _writing = threading.Lock()

    def __init__(self, number):
        self.number = number
        self.stopped = threading.Event()

    def note(self, **note):
        """Tell the tests something while the job goes on."""
        self.write(note=note)

    def write(self, **message):
        """Write one line."""
        with self._writing:
            sys.stdout.write(json.dumps({"job": self.number, **message}, default=str) + "\n")
            sys.stdout.flush()


def news(number, text=""):
    """Give an event that says which one it is and when it was sent."""
    return {"type": "news", "number": number, "at": time.time(), "text": text}


# Jobs: people and what they were sent


def people(job, count):
    """Make users; give the id and an access token of each."""
    from accounts import tokens
    from accounts.models import User

    begin = User.objects.count()
    made = [
        User.objects.create(username=f"user{number}", email=f"user{number}@example.com")
        for number in range(begin, begin + count)
    ]
    return [(user.pk, tokens.issue(user).access) for user in made]


def history(job, users):
    """Give what the database holds for each user: pairs of the user and its events."""
    from realtime.models import UserEvent, UserStream

    epochs = dict(UserStream.objects.values_list("pk", "epoch"))
    return [
        (
            user,
            [
                (epochs[user], seq, payload["number"])
                for seq, payload in UserEvent.objects.filter(stream=user)
                .order_by("seq")
                .values_list("seq", "payload")
            ],
        )
        for user in users
    ]


def heads(job, users):
    """Give pairs of each user and the last sequence number of its stream."""
    from realtime.models import UserStream

    return list(UserStream.objects.filter(pk__in=users).values_list("pk", "head"))


def delete(job, user):
    """Delete a user."""
    from accounts.models import User

    User.objects.get(pk=user).delete()


def manage(job, command, arguments):
    """Run a management command."""
    from django.core.management import call_command

    call_command(command, *arguments, stdout=sys.stderr)


# Jobs: sending


def publish(job, users, rate, threads=4):
    """Notify the users in turn, so many times a second, until stopped.

    Notes each event that is stored, and each failure; whoever fails goes on with the next event.
    """
    from django.db import Error, close_old_connections
    from realtime.notification import notify_user

    numbers = itertools.count(1)

    def work():
        due = time.monotonic()
        while not job.stopped.wait(max(0, due - time.monotonic())):
            due += threads / rate
            number = next(numbers)
            user = users[number % len(users)]
            try:
                began = time.monotonic()
                seq = notify_user(user, news(number))
            except Error as error:
                job.note(failed=repr(error))
                close_old_connections()  # As a worker of tasks does between two tasks.
            else:
                job.note(user=user, seq=seq, seconds=time.monotonic() - began)

    in_threads([work] * threads)


def burst(job, users, count, threads=8, text_bytes=0):
    """Notify the users in turn, `count` times in all, as fast as it goes."""
    from realtime.notification import notify_user

    numbers = iter(range(count))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            notify_user(users[number % len(users)], news(number, "x" * text_bytes))

    in_threads([work] * threads)


def notify(job, user, number=0):
    """Notify one user; give how many seconds that took."""
    from realtime.notification import notify_user

    began = time.monotonic()
    notify_user(user, news(number))
    return time.monotonic() - began


def try_to_notify(job, user):
    """Notify one user; give the error, if there is one, and how many seconds it took."""
    from realtime.notification import notify_user

    began = time.monotonic()
    try:
        notify_user(user, news(0))
    except Exception as error:
        return f"{type(error).__name__}: {error}", time.monotonic() - began
    return None, time.monotonic() - began


def die_before_publishing(job, user, number):
    """Kill this process after the commit and before the event is published."""
    from django.db import transaction
    from realtime.notification import notify_user

    with transaction.atomic():
        # Callbacks run in the order in which they were registered, so this one comes first.
        transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        notify_user(user, news(number))


def roll_back(job, user, number):
    """Notify inside a transaction that is then rolled back; give the sequence number it had."""
    from django.db import transaction
    from realtime.notification import notify_user

    class Regret(Exception):
        pass

    try:
        with transaction.atomic():
            seq = notify_user(user, news(number))
            raise Regret
    except Regret:
        return seq


def hold(job, user):
    """Notify inside a transaction that stays open until stopped, then commits."""
    from django.db import transaction
    from realtime.notification import notify_user

    with transaction.atomic():
        notify_user(user, news(0))
        job.note(held=user)
        job.stopped.wait(30)


def opposite(job, first, second):
    """Notify two users in two transactions at once, in opposite orders; give what came of each."""
    from django.db import transaction
    from realtime.notification import notify_user

    both_hold_one = threading.Barrier(2)
    results = []

    def work(one, other):
        began = time.monotonic()
        try:
            with transaction.atomic():
                notify_user(one, news(one))
                # SQLite lets no second transaction begin before the first one's end.
                with contextlib.suppress(threading.BrokenBarrierError):
                    both_hold_one.wait(1)
                notify_user(other, news(one))
            results.append((one, None, time.monotonic() - began))
        except Exception as error:
            results.append((one, type(error).__name__, time.monotonic() - began))

    in_threads([lambda: work(first, second), lambda: work(second, first)])
    return results


def plural(job, users, rounds):
    """Notify all users at once from two threads that name them in opposite orders."""
    from realtime.notification import notify_users

    def work(ids):
        for number in range(rounds):
            notify_users(ids, news(number))

    in_threads([lambda: work(users), lambda: work(users[::-1])])


# Jobs: every kind of caller


def call_from_thread(job, user, number):
    """Notify from a new thread."""
    from realtime.notification import notify_user

    in_threads([lambda: notify_user(user, news(number))])


def call_from_fork(job, user, number):
    """Notify from a forked worker, after this process has used the publisher itself."""
    from realtime.notification import notify_user

    # Not from this thread: its database connection would be shared with the child.
    in_threads([lambda: notify_user(user, news(number))])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            notify_user(user, news(number + 1))
            from realtime.bus import publisher

            publisher.close()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def call_often(job, users, count, durable_one_in):
    """Notify `count` times from threads that live for a hundred calls each."""
    from realtime.notification import notify_user

    def work(numbers):
        for number in numbers:
            user = users[number % len(users)]
            notify_user(user, news(number), durable=number % durable_one_in == 0)

    for start in range(0, count, 800):
        in_threads(
            [
                lambda begin=begin: work(range(begin, min(begin + 100, count)))
                for begin in range(start, min(start + 800, count), 100)
            ]
        )


def in_threads(tasks):
    """Run functions at the same time, each in a thread, and raise the first error."""
    from django.db import connections

    errors = []

    def work(task):
        try:
            task()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[task]) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def main():
    """Take orders until there are none."""
    django.setup()
    from django.db import connections

    from . import rooms

    actions = {**vars(rooms), **globals()}
    jobs = {}

    def run(job, action, arguments):
        try:
            result = actions[action](job, **arguments)
        except Exception as error:
            job.write(error=f"{type(error).__name__}: {error}")
        else:
            job.write(result=result)
        finally:
            connections.close_all()

    for line in sys.stdin:
        order = json.loads(line)
        if "stop" in order:
            jobs[order["stop"]].stopped.set()
            continue
        job = jobs[order["job"]] = Job(order["job"])
        arguments = (job, order["do"], order["with"])
        threading.Thread(target=run, args=arguments, daemon=True).start()
    for job in jobs.values():
        job.stopped.set()


if __name__ == "__main__":
    main()
