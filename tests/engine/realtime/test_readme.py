"""The README's chapter "Add your own stream", done as it says."""

import os
import re
import subprocess
import sys

from django.conf import settings

PROJECT = settings.BASE_DIR

SETTINGS = """
from backend.settings_test import *

INSTALLED_APPS = [*INSTALLED_APPS, "orders"]
"""

# A customer with a socket on an order, and a subscription to it; `push` is the last sample.
SCRIPT = """
import asyncio

import django

django.setup()

from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.core.management import call_command

call_command("makemigrations", "orders", verbosity=0)
call_command("migrate", verbosity=0)

from accounts import tokens
from accounts.models import User
from orders.models import Order
from realtime.database import in_database
from realtime.hub import Hub
from realtime.routing import urlpatterns

user = User.objects.create_user("ada", "ada@example.com")
order = Order.objects.create(customer=user)
token = tokens.issue(user).access


def push():
    exec(compile(open("push.py").read(), "push.py", "exec"), {"order": order})


async def main():
    application = URLRouter(urlpatterns)
    socket = WebsocketCommunicator(application, f"/ws/orders/{order.pk}/?token={token}")
    await socket.connect(10)
    await socket.receive_from(10)
    many = WebsocketCommunicator(application, f"/ws/realtime/?token={token}")
    await many.connect(10)
    await many.receive_from(10)
    names = [{"stream": f"orders/{order.pk}"}, {"stream": f"orders/{order.pk + 1}"}]
    await many.send_json_to({"type": "realtime.subscribe", "streams": names})
    print((await many.receive_json_from(10))["code"])
    assert (await many.receive_json_from(10))["type"] == "realtime.subscribed"
    await in_database(push)
    print(await many.receive_from(10))
    await many.disconnect()
    print(await socket.receive_from(10))
    await socket.disconnect()
    other = WebsocketCommunicator(application, f"/ws/orders/{order.pk + 1}/?token={token}")
    await other.connect(10)
    print(await other.receive_output(10))
    await Hub.current().close()


asyncio.run(main())
"""


def test_the_chapters_code_makes_a_durable_stream(tmp_path):
    """Typed in as it stands, the chapter's code delivers an event and refuses strangers."""
    readme = (PROJECT / "README.md").read_text("utf-8")
    chapter = readme.partition("## Add your own stream")[2].partition("\n## ")[0]
    names = re.findall(r"`(orders/\w+\.py)`", chapter)
    *files, push = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "__init__.py").touch()
    for name, code in zip(names, files, strict=True):
        (tmp_path / name).write_text(code, "utf-8")
    (tmp_path / "push.py").write_text(push, "utf-8")
    (tmp_path / "settings_orders.py").write_text(SETTINGS, "utf-8")

    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}",
            "DJANGO_SETTINGS_MODULE": "settings_orders",
            "TEST_DATABASE_URL": f"sqlite:///{tmp_path / 'orders.sqlite3'}",
            "TEST_REDIS_URL": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    unsubscribed, named, event, refusal = result.stdout.splitlines()
    assert unsubscribed == "4404"
    assert named == event.replace("}", ',"stream":"orders/1"}')
    assert event == '{"type":"order.shipped","carrier":"bicycle","seq":1}'
    assert "4404" in refusal
