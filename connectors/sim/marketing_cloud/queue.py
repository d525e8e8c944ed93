"""The asynchronous row queue: accepted at once, applied later, in an order nobody promised.

A request is applied the first time anybody looks at the simulator after its due time, in due order; since due times
are drawn per request, two requests for the same row may apply the wrong way round, and a row deleted meanwhile comes
back to life. A restart loses what was pending and forgets every request id.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

from connectors.sim.kernel import Faults
from connectors.sim.marketing_cloud.access import SIDE
from connectors.sim.marketing_cloud.model import Tenant
from connectors.sim.marketing_cloud.values import CellError, show_instant

MAX_ITEMS = 32_000
REMEMBER = 2 * 86_400.0
"""Seconds a finished request can be asked for."""


@dataclass(slots=True)
class Request:
    """``items`` is dropped once applied; ``results`` holds one entry per row when there was an error, else none."""

    id: str
    mid: int
    key: str
    mode: str
    items: list[dict[str, Any]]
    accepted: float
    due: float
    pickup: float
    done: bool = False
    errors: int = 0
    results: list[dict[str, str]] = field(default_factory=list)


class RowQueue:
    """``seconds`` is the usual delay; each request waits between half and one and a half of it."""

    def __init__(self, tenant: Tenant, faults: Faults, seconds: float) -> None:
        self.tenant = tenant
        self.faults = faults
        self.seconds = seconds
        self.requests: dict[str, Request] = {}
        self._waiting: list[tuple[float, str]] = []

    def put(self, mid: int, key: str, mode: str, items: list[dict[str, Any]]) -> Request:
        slow = self.faults.active(SIDE, "slow_queue", _route(key), key)
        seconds = slow.seconds if slow is not None else self.seconds
        now = self.tenant.now()
        wait = seconds * (0.5 + self.tenant.rng.random()) if slow is None else seconds
        made = Request(self.tenant.guid(), mid, key, mode, items, now, now + wait, now + wait * 0.6)
        self.requests[made.id] = made
        heapq.heappush(self._waiting, (made.due, made.id))
        return made

    def run(self) -> None:
        """Apply everything that is due, and forget what is too old to be asked for."""
        now = self.tenant.now()
        while self._waiting and self._waiting[0][0] <= now:
            _, request_id = heapq.heappop(self._waiting)
            self._apply(self.requests[request_id])
        while self.requests:
            oldest = next(iter(self.requests.values()))
            if not oldest.done or oldest.due > now - REMEMBER:
                break
            del self.requests[oldest.id]

    def restart(self) -> int:
        """The vendor restarts: pending requests are lost (their number is returned), the ids of all are forgotten."""
        lost = len(self._waiting)
        self._waiting.clear()
        self.requests.clear()
        return lost

    def _apply(self, request: Request) -> None:
        request.done = True
        extension = self.tenant.extension(request.mid, request.key)
        refuse_from = len(request.items)
        if self.faults.active(SIDE, "partial", _route(request.key), request.key):
            refuse_from = len(request.items) // 2
        errors: list[str | None] = []
        for number, item in enumerate(request.items):
            if extension is None:
                errors.append("The data extension does not exist.")
                continue
            if number >= refuse_from:
                errors.append("Transaction was deadlocked on lock resources with another process.")
                continue
            try:
                extension.write(item, request.mode, request.due, self.tenant.tz)
                errors.append(None)
            except CellError as error:
                errors.append(str(error))
        request.items = []
        messages = [e for e in errors if e is not None]
        request.errors = len(messages)
        request.results = [{"errorCode": "UnexpectedError", "message": m, "status": "Error"} for m in messages]

    # ---- answers

    def status(self, request_id: str) -> dict[str, Any]:
        """The body of a status call; an unknown id is an error inside HTTP 200."""
        request = self.requests.get(request_id)
        if request is None:
            return {**_unknown(), "requestId": self.tenant.guid()}
        shown: dict[str, Any] = {
            "callDateTime": show_instant(request.accepted, self.tenant.tz), "hasErrors": request.errors > 0,
            "requestStatus": "Complete" if request.done else "Pending", "resultStatus": "OK", "requestId": request.id,
        }
        if request.done or request.pickup <= self.tenant.now():
            shown["pickupDateTime"] = show_instant(request.pickup, self.tenant.tz)
        if request.done:
            shown["completionDateTime"] = show_instant(request.due, self.tenant.tz)
        return {"status": shown, "requestId": self.tenant.guid()}

    def answer(self, request_id: str, page: int, size: int) -> dict[str, Any]:
        """The body of a results call: one item per refused row, without its number."""
        request = self.requests.get(request_id)
        if request is None:
            return {**_unknown(), "requestId": self.tenant.guid()}
        start = (page - 1) * size
        return {"page": page, "pageSize": size, "count": len(request.results),
                "items": request.results[start:start + size], "requestId": self.tenant.guid()}


def _route(key: str) -> str:
    return f"/data/v1/async/dataextensions/key:{key}/rows"


def _unknown() -> dict[str, Any]:
    return {"resultMessages": [{
        "resultType": "Operational", "resultClass": "Error", "resultCode": "AsyncRequestStatusNotFound",
        "message": "The requestId was not found or has expired."}]}
