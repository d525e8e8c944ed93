"""REST query, queryAll and queryMore: pages of a snapshot of rows, behind locators that can die."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors.sim.kernel import Response

from .db import Row
from .errors import Refused
from .evaluate import rest_renderer
from .web import Context, Route, route

DEFAULT_PAGE = 2000
SMALLEST_PAGE = 200


@dataclass(slots=True)
class Cursor:
    """The rows of one query as they were when it ran."""

    rows: list[Row]
    render: Callable[[Row], dict[str, Any]]
    object: str
    born: float


class Cursors:
    """Open locators, oldest first; beyond the allowed number the oldest dies."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._open: OrderedDict[str, Cursor] = OrderedDict()

    def add(self, cursor: Cursor, most: int) -> str:
        locator = "0r8" + "".join(self.rng.choices("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=15))
        self._open[locator] = cursor
        while len(self._open) > most:
            self._open.popitem(last=False)
        return locator

    def get(self, locator: str, now: float, lifetime: float) -> Cursor:
        """An open cursor.

        :raises Refused: INVALID_QUERY_LOCATOR
        """
        cursor = self._open.get(locator)
        if cursor is None or now - cursor.born > lifetime:
            self._open.pop(locator, None)
            raise Refused("INVALID_QUERY_LOCATOR", "invalid query locator")
        return cursor

    def retire(self, locator: str) -> None:
        """A cursor read to its end is the first to be dropped, but its last page may still be asked for again."""
        self._open.move_to_end(locator, last=False)


def _page_size(ctx: Context) -> int:
    wanted = DEFAULT_PAGE
    for part in ctx.request.headers.get("sforce-query-options", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "batchsize" and value.strip().isdigit():
            wanted = int(value)
    return min(max(wanted, SMALLEST_PAGE), DEFAULT_PAGE)


def _query(ctx: Context, *, deleted: bool) -> Response:
    text = ctx.request.query.get("q")
    if not text:
        raise Refused("MALFORMED_QUERY", "SOQL statement cannot be empty")
    prepared = ctx.sim.engine.prepare(text, deleted=deleted)
    if ctx.fault("empty_list", prepared.object):
        return Response(200, {"totalSize": 0, "done": True, "records": []})
    if prepared.query.count:
        return Response(200, {"totalSize": prepared.count(), "done": True, "records": []})
    render = rest_renderer(ctx.sim.db, prepared.object, prepared.columns, ctx.version)
    cursor = Cursor(list(prepared.rows()), render, prepared.object, ctx.sim.kernel.clock.now())
    return _page(ctx, cursor, 0, None)


def _more(ctx: Context) -> Response:
    locator, _, offset = ctx.args["locator"].partition("-")
    options = ctx.sim.options
    cursor = ctx.sim.cursors.get(locator, ctx.sim.kernel.clock.now(), options.cursor_seconds)
    if not offset.isdigit() or not 0 < int(offset) < len(cursor.rows):
        raise Refused("INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(ctx, cursor, int(offset), locator)


def _page(ctx: Context, cursor: Cursor, start: int, locator: str | None) -> Response:
    size = _page_size(ctx)
    if ctx.sim.options.irregular_pages and len(cursor.rows) - start > SMALLEST_PAGE:
        size -= ctx.sim.cursors.rng.randrange(size // 4)
    rows = cursor.rows[start:start + size]
    end = start + len(rows)
    body: dict[str, Any] = {"totalSize": len(cursor.rows), "done": end >= len(cursor.rows)}
    if rows and ctx.fault("truncated_page", cursor.object):
        rows, body["done"] = rows[:len(rows) // 2], True
    if not body["done"]:
        locator = locator or ctx.sim.cursors.add(cursor, ctx.sim.options.max_cursors)
        body["nextRecordsUrl"] = f"/services/data/{ctx.version}/query/{locator}-{end}"
    elif locator is not None:
        ctx.sim.cursors.retire(locator)
    body["records"] = [cursor.render(row) for row in rows]
    return Response(200, body)


ROUTES: list[Route] = [
    route("GET", "/query", "query", lambda ctx: _query(ctx, deleted=False)),
    route("GET", "/queryAll", "query_all", lambda ctx: _query(ctx, deleted=True)),
    route("GET", "/query(?:All)?/{locator}", "query_more", _more),
]
