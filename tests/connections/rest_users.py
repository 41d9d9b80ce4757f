"""Who sends Schemathesis's requests: loaded by it, as schemathesis.toml says.

One user does everything, with one token, but change the password: that ends all tokens of whoever
does it. So a second user does nothing else, and signs in again whenever the token has ended.
Without these variables in the environment nobody signs in.
"""

import json
import os
import urllib.request
from typing import Any

import schemathesis

PASSWORD_PATH = "/api/users/me/password/"


class Bearer:
    """Puts an access token into requests."""

    def set(self, case: Any, data: str, context: Any) -> None:
        """Put the token in."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth(retry_on=[]).skip_for(path=PASSWORD_PATH)
class Actor(Bearer):
    """Does everything else."""

    def get(self, case: Any, context: Any) -> str | None:
        """Return the token of the user."""
        return os.environ.get("REST_ACTOR_TOKEN")


@schemathesis.auth(retry_on=[401]).apply_to(path=PASSWORD_PATH)
class Changer(Bearer):
    """Changes the password to what it is."""

    def get(self, case: Any, context: Any) -> str | None:
        """Sign in."""
        if "REST_CHANGER" not in os.environ:
            return None
        request = urllib.request.Request(
            os.environ["REST_SERVER"] + "/api/token/",
            os.environ["REST_CHANGER"].encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # nosec B310: this test's own server
            return json.load(answer)["access"]
