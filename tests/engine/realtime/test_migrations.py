"""What is stored survives the migrations."""

import json

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from realtime import streams
from realtime.models import UserEvent, UserStream
from realtime.notification import notify_user


def migrate(number):
    """Go to a migration of this app, and return its models as they were then."""
    executor = MigrationExecutor(connection)
    [target] = [
        key for key in executor.loader.disk_migrations if key[0] == "realtime" and number in key[1]
    ]
    executor.migrate([target])
    return executor.loader.project_state([target]).apps


@pytest.fixture
def latest(transactional_db):
    """Let the other tests find the latest migrations."""
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_payloads_that_were_stored_otherwise(user, latest):
    """Events of before are there, are replayed, and new ones follow them."""
    payload = {"type": "news", "text": 'ü "quoted"\n', "list": [1, 1.5, None, True, {}]}
    before = migrate("0004")
    stream = UserStream.objects.create(user=user, head=1)
    before.get_model("realtime", "UserEvent").objects.create(
        stream_id=stream.pk, seq=1, payload=payload
    )

    migrate("0005")
    notify_user(user.pk, payload)

    assert [event.payload for event in UserEvent.objects.all()] == [payload, payload]
    texts = [text for _, text in streams.texts_after([(stream, 0)])[stream.group, 0]]
    assert [json.loads(text) for text in texts] == [{**payload, "seq": n} for n in (1, 2)]

    before = migrate("0004")
    events = before.get_model("realtime", "UserEvent").objects.order_by("seq")
    assert [event.payload for event in events] == [payload, payload]
