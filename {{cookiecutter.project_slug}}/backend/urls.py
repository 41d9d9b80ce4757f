"""Every HTTP route of the project."""

from csp.constants import NONCE
from csp.decorators import csp_update
from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.templatetags.static import static as static_file
from django.urls import URLPattern, URLResolver, include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView

from backend.schema import SchemaView
from realtime.views import StreamView

# What the scripts of these two pages bring along, beside what the settings allow.
allow_swagger = csp_update({"img-src": ["data:"], "style-src": [NONCE]})
allow_redoc = csp_update(
    {
        "img-src": ["data:"],
        "script-src": [NONCE],
        "style-src": [NONCE],
        "worker-src": ["blob:"],
    }
)

# Looked up late: in production the name has a hash, which collectstatic writes down.
favicon = lazy(static_file, str)("drf_spectacular_sidecar/swagger-ui-dist/favicon-32x32.png")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="docs"), name="home"),
    path("favicon.ico", RedirectView.as_view(url=favicon)),
    path("admin/", admin.site.urls),
    path("api/", include("accounts.urls")),
    path("api/realtime/", include("realtime.urls")),
    path("api/streams/<path:name>/", StreamView.as_view(), name="stream"),
{%- if cookiecutter.use_chat %}
    path("", include("chat.urls")),
{%- endif %}
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path(
        "api/docs/",
        allow_swagger(SpectacularSwaggerSplitView.as_view(url_name="schema")),
        name="docs",
    ),
    path(
        "api/redoc/",
        allow_redoc(SpectacularRedocView.as_view(url_name="schema")),
        name="redoc",
    ),
    # With DEBUG off this adds nothing: uploaded files are for the proxy to serve.
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]

handler400 = "backend.errors.bad_request"
handler404 = "backend.errors.not_found"
handler500 = "backend.errors.server_error"
