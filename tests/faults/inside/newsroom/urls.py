"""The project's routes and four more."""

from backend.urls import urlpatterns as project
from django.urls import path

from . import views

urlpatterns = [
    *project,
    path("newsroom/sync/<int:user_id>/<int:number>/", views.sync),
    path("newsroom/async/<int:user_id>/<int:number>/", views.asynchronous),
    path("newsroom/rename/<int:user_id>/<int:number>/", views.rename),
    path("newsroom/holdings/", views.holdings),
]
