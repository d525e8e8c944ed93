"""The routes. Nothing here reads a proxy's headers: who sends a delivery is told by its signature."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, request

from syncd.web.hooks import Hooks, lower


def site(hooks: Hooks, *, alive: Callable[[], bool], ready: Callable[[], bool], metrics: Callable[[], bytes]) -> Flask:
    """``alive``: the daemon's loop moves; ``ready``: what is delivered now would be stored."""
    app = Flask("syncd", static_folder=None)

    @app.post("/hooks/<connection>/<callback>")
    def deliver(connection: str, callback: str) -> Response:
        status = hooks.deliver(connection, callback, lower(dict(request.headers)), request.get_data(cache=False),
                               request.mimetype == "application/json")
        response = Response(status=status or 404)
        response.call_on_close(lambda: hooks.failpoint("answered"))
        return response

    @app.get("/livez")
    def livez() -> Response:
        return _told(alive())

    @app.get("/readyz")
    def readyz() -> Response:
        return _told(ready())

    @app.get("/metrics")
    def scrape() -> Response:
        return Response(metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.errorhandler(404)
    @app.errorhandler(405)
    def nothing(error: Exception) -> Response:
        return Response(status=getattr(error, "code", 404))

    return app


def _told(well: bool) -> Response:
    return Response("ok\n" if well else "failing\n", 200 if well else 503, content_type="text/plain")
