"""Every HTTP route of the project."""

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="docs"), name="home"),
    path("admin/", admin.site.urls),
    path("api/", include("accounts.urls")),
    path("api/realtime/", include("realtime.urls")),
{%- if cookiecutter.use_chat %}
    path("api/chat/", include("chat.urls")),
{%- endif %}
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/redoc/", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    # With DEBUG off this adds nothing: nginx serves uploaded files.
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
