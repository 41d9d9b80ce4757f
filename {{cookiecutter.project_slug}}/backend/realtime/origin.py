def OriginCheck(app):
    return app
