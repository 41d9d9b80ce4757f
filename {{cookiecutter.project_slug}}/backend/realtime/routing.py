websocket_urlpatterns: list = []
unknown_paths: list = []
