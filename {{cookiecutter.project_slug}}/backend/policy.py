"""What a browser may load on behalf of an answer."""

from csp.constants import NONE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase

# A script counts as well: a worker that is made from it goes by its policy.
PAGES = ("text/html", "text/javascript")
# JSON, other files and redirects need nothing else.
NOTHING = {"default-src": [NONE], "frame-ancestors": [NONE]}


class PolicyMiddleware(CSPMiddleware):
    """Gives pages the policy of the settings and of their views, and every other answer `NOTHING`.

    With DEBUG on, the pages of 404 and 500 come without a policy: they have styles of their own.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Return what the header is made of."""
        if response.get("Content-Type", "").startswith(PAGES):
            return super().get_policy_parts(request, response, report_only)
        return PolicyParts(config=None if report_only else NOTHING)
