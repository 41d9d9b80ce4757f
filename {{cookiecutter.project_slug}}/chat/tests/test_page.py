"""The page on which people chat; what it does, only a browser can say."""

import re

from django.contrib.staticfiles import finders
from django.test import Client


def test_the_page(client: Client):
    """Anyone may look at it, and all that it loads exists."""
    page = client.get("/chat/")

    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="/static/([^"]+)"', page.text)
    assert len(loaded) == 2
    assert all(map(finders.find, loaded))
