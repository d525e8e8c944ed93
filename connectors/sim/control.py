"""The control API: the truth about every side, people acting, faults, the clock, the journal of requests.

It is served beside the simulators and is itself in no journal. What makes no sense is answered 400 with one sentence.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from http.server import ThreadingHTTPServer
from types import NoneType
from typing import Any

import orjson

from connectors.sim.kernel import BadAct, Call, Fault, Kernel, Request, Response, Simulator, serve

Answer = dict[str, Any]

FAULTS = ("latency", "http_429", "http_500", "reset_before", "reset_after", "partial", "token_expired",
          "truncated_page", "empty_list", "drop_field", "slow_queue")
ACTORS = ("recipient", "crm_user", "esp_user", "connect", "platform")
CRMS, ESPS = ("salesforce", "odoo"), ("marketing_cloud", "odoo")
_NOTHING = {"calls": 0, "reads": 0, "writes": 0, "records_written": 0, "bytes_in": 0}

_NUMBER = (int, float)
_FAULT_KEYS: dict[str, type | tuple[type, ...]] = {
    "target": str, "fault": str, "route": str, "object": str, "field": str, "count": int, "probability": _NUMBER,
    "seconds": _NUMBER, "seed": int}
_ACT_KEYS: dict[str, type | tuple[type, ...]] = {
    "actor": str, "do": str, "crm": str, "esp": str, "object": str, "id": (str, int), "into": (str, int), "where": dict,
    "set": dict, "email": str, "key": str, "kind": str, "from": (str, dict), "to": dict, "list": (str, NoneType),
    "name": str, "classification": str, "audience": str, "topic": str, "emails": list, "status": str, "method": str,
    "delay": _NUMBER, "bu": int}
"""Keys whose values must have these types; others are the simulators' own business."""
_WORDS: dict[type | tuple[type, ...], str] = {
    str: "text", int: "a whole number", _NUMBER: "a number", dict: "an object", list: "a list",
    (str, int): "text or a number", (str, dict): "text or an object", (str, NoneType): "text or null"}


class Control:
    """The API over ``simulators`` that share ``kernel``."""

    def __init__(self, kernel: Kernel, simulators: Mapping[str, Simulator]) -> None:
        self._kernel = kernel
        self._simulators = dict(simulators)
        self._routes: dict[str, dict[str, Callable[[Request], Answer]]] = {
            "/sandbox/world": {"GET": self._world}, "/sandbox/act": {"POST": self._act},
            "/sandbox/faults": {"POST": self._add_fault, "DELETE": self._clear_faults},
            "/sandbox/clock": {"GET": self._now, "POST": self._advance},
            "/sandbox/journal": {"GET": self._journal, "DELETE": self._clear_journal},
        }

    def serve(self, port: int = 0) -> ThreadingHTTPServer:
        """Answer on 127.0.0.1; its own journal, clock and faults are nobody's."""
        return serve(Kernel(), "control", self.handle, port)

    def handle(self, request: Request, call: Call) -> Response:
        """Answer one request."""
        call.route = request.path
        methods = self._routes.get(request.path.rstrip("/"))
        if methods is None:
            return _refused(404, f"There is no {request.path}; there are {', '.join(sorted(self._routes))}.")
        work = methods.get(request.method)
        if work is None:
            return _refused(405, f"{request.path} takes {' and '.join(sorted(methods))}.")
        try:
            return Response(200, orjson.dumps(work(request)))
        except BadAct as error:
            return _refused(400, str(error))
        except ValueError as error:  # what int() says of an id that is none
            return _refused(400, f"A value is not what it should be: {error}.")
        except Exception as error:
            # A simulator that fails must be seen at once, in the test that made it fail.
            traceback.print_exc(file=sys.stderr)
            return _refused(500, f"The simulator failed: {type(error).__name__}.")

    # ------------------------------------------------------------------ the truth

    def _world(self, request: Request) -> Answer:
        limit = request.query.get("limit")
        if limit is not None and not (limit.isascii() and limit.isdigit() and int(limit) > 0):
            raise BadAct("limit must be a whole number above 0.")
        mails = request.query.get("mails", "yes")
        if mails not in ("yes", "no"):
            raise BadAct("mails must be yes or no.")
        return self._side(request.query.get("side"), "side").world(
            request.query.get("after") or None, None if limit is None else int(limit), mails == "yes")

    def _side(self, name: str | None, key: str, among: Iterable[str] | None = None) -> Simulator:
        allowed = [side for side in (among or self._simulators) if side in self._simulators]
        if name not in allowed:
            raise BadAct(f"{key} must be one of {', '.join(allowed)}.")
        return self._simulators[name]

    def _journal(self, request: Request) -> Answer:
        journal = self._kernel.journal.snapshot()
        journal["totals"] = {side: journal["totals"].get(side, _NOTHING) for side in self._simulators}
        return journal

    def _clear_journal(self, request: Request) -> Answer:
        self._kernel.journal.reset()
        return {}

    # ------------------------------------------------------------------ acting

    def _act(self, request: Request) -> Answer:
        # Null says nothing, except that a send is tied to no list.
        body = {key: value for key, value in _body(request).items() if value is not None or key == "list"}
        _typed(body, _ACT_KEYS)
        actor = body.get("actor")
        if actor not in ACTORS:
            raise BadAct(f"actor must be one of {', '.join(ACTORS)}.")
        if "do" not in body:
            raise BadAct("do is missing: say what is done.")
        _shaped(body)
        if actor == "crm_user":
            return self._side(body.get("crm"), "crm", CRMS).act(body)
        if actor in ("connect", "platform"):
            return self._simulators[ESPS[0]].act(body)
        return self._side(body.get("esp", ESPS[0]), "esp", ESPS).act(body)

    # ------------------------------------------------------------------ faults

    def _add_fault(self, request: Request) -> Answer:
        body = {key: value for key, value in _body(request).items() if value is not None}
        strange = sorted(set(body) - set(_FAULT_KEYS))
        if strange:
            raise BadAct(f"A fault has no {', '.join(strange)}; it has {', '.join(_FAULT_KEYS)}.")
        _typed(body, _FAULT_KEYS)
        self._side(body.get("target"), "target")
        if body.get("fault") not in FAULTS:
            raise BadAct(f"fault must be one of {', '.join(FAULTS)}.")
        if not 0 <= body.get("probability", 1) <= 1:
            raise BadAct("probability must be between 0 and 1.")
        if body.get("count", 1) < 1 or body.get("seconds", 0) < 0:
            raise BadAct("count must be at least 1, and seconds not below 0.")
        if body["fault"] == "drop_field" and "field" not in body:
            raise BadAct("drop_field needs the field that is to vanish.")
        fault = Fault(**body)
        self._kernel.faults.add(fault)
        return {"added": {key: value for key, value in dataclasses.asdict(fault).items() if key != "rng"}}

    def _clear_faults(self, request: Request) -> Answer:
        target = request.query.get("target")
        if target is not None:
            self._side(target, "target")
        return {"cleared": self._kernel.faults.clear(target)}

    # ------------------------------------------------------------------ time

    def _now(self, request: Request) -> Answer:
        return {"now": self._kernel.clock.now()}

    def _advance(self, request: Request) -> Answer:
        body = _body(request)
        _typed(body, {"advance": _NUMBER})
        if set(body) != {"advance"}:
            raise BadAct('Write {"advance": seconds}.')
        if body["advance"] < 0:
            raise BadAct("Time does not run backwards.")
        self._kernel.clock.advance(body["advance"])
        return self._now(request)


def _refused(status: int, sentence: str) -> Response:
    return Response(status, {"error": sentence})


def _body(request: Request) -> dict[str, Any]:
    try:
        body = request.json()
    except orjson.JSONDecodeError:
        raise BadAct("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise BadAct("The body must be a JSON object.")
    return body


def _shaped(body: Mapping[str, Any]) -> None:
    """Refuse parts of an act that no simulator could make sense of."""
    place = body.get("from")
    if isinstance(place, str) and place != "all":
        raise BadAct('from is "all", or an object with a topic, an audience or a mail.')
    if isinstance(place, dict):
        _typed(place, {"topic": str, "audience": str, "mail": (str, int)})
    for key in ("set", "where"):
        topics = (body.get(key) or {}).get("topics", {})
        if not isinstance(topics, dict) or not all(state in (True, False, None) for state in topics.values()):
            raise BadAct(f"topics in {key} must be an object of true, false or null.")
    if not all(isinstance(email, str) for email in body.get("emails") or ()):
        raise BadAct("emails must be a list of text.")


def _typed(body: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> None:
    for key, kind in types.items():
        value = body.get(key)
        if key in body and (not isinstance(value, kind) or isinstance(value, bool)):
            raise BadAct(f"{key} must be {_WORDS[kind]}.")
