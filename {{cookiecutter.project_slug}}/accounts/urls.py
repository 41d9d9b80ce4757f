"""The REST routes below `/api/`."""

from django.urls import path

from . import views

urlpatterns = [
    path("users/", views.RegistrationView.as_view(), name="register"),
    path("users/me/", views.MeView.as_view(), name="me"),
    path("users/me/password/", views.PasswordView.as_view(), name="password"),
    path("token/", views.TokenView.as_view(), name="token"),
    path("token/refresh/", views.RefreshView.as_view(), name="token-refresh"),
    path("token/verify/", views.VerifyView.as_view(), name="token-verify"),
    path("token/blacklist/", views.BlacklistView.as_view(), name="token-blacklist"),
]
