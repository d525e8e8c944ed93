"""The simulator: composition, HTTP dispatch, loading, the control interface."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from connectors.sim.kernel import BadAct, Call, Kernel, Request, Response
from connectors.sim.marketing_cloud import loading
from connectors.sim.marketing_cloud.access import Access
from connectors.sim.marketing_cloud.acts import Acts, Names, world
from connectors.sim.marketing_cloud.ens import Notifier
from connectors.sim.marketing_cloud.model import Tenant, UnsubEvent
from connectors.sim.marketing_cloud.queue import RowQueue
from connectors.sim.marketing_cloud.rest import RestEndpoint
from connectors.sim.marketing_cloud.soap import SoapEndpoint

DEFAULT_MID = 12345
EchoSink = Callable[[str, str], bool]
"""Called with subscriber key and address; answers whether the CRM record changed."""


class MarketingCloudSim:
    """One tenant of Marketing Cloud.

    topics          topic -> publication list id, or {mid: list id}; missing lists are created
    audiences       name -> {"de": external key, "topic": topic or None, "bu": mid}
    business_units  mid -> {"name", "behavior": ENTIRE_ENTERPRISE | BUSINESS_UNIT_ONLY}; default one, ``DEFAULT_MID``
    eid             the enterprise's MID; default the first business unit
    clients         client id -> {"secret", "mids", "mid", "scopes"}; default "mc-client" with secret "mc-secret"
    queue_seconds   usual delay of asynchronous rows
    rowset_reading  False: the undocumented REST reading route answers 404, as in some tenants
    limits          calls per minute: {"rest", "soap", "token"}; default none
    suppress_days   logical phase of a contact delete; 0 = at once
    echo_sink       what Marketing Cloud Connect does in the CRM; ``echo_auto`` calls it with every unsubscribe instead
                    of waiting for the act {"actor": "connect", "do": "echo"}
    ens             options of ``Notifier``
    """

    side = "marketing_cloud"

    def __init__(self, kernel: Kernel, *, topics: Mapping[str, Any] | None = None,
                 audiences: Mapping[str, Mapping[str, Any]] | None = None,
                 business_units: Mapping[int, Mapping[str, Any]] | None = None, eid: int | None = None,
                 clients: Mapping[str, Mapping[str, Any]] | None = None, queue_seconds: float = 0.2,
                 rowset_reading: bool = True, limits: Mapping[str, int] | None = None, suppress_days: float = 2.0,
                 server_utc_offset: float = -6.0, echo_sink: EchoSink | None = None, echo_auto: bool = False,
                 ens: Mapping[str, Any] | None = None) -> None:
        units = {int(m): o for m, o in (business_units or {DEFAULT_MID: {"name": "Main"}}).items()}
        home = next(iter(units)) if eid is None else eid
        if home not in units:
            units = {**units, home: {"name": "Enterprise"}}
        self.kernel = kernel
        self.tenant = Tenant(kernel.clock, kernel.rng("marketing_cloud"), units, home, server_utc_offset)
        self.names = Names(self.tenant, topics or {}, audiences or {})
        self.echo_sink = echo_sink
        self.echo_auto = echo_auto
        self._lock = threading.RLock()
        self._posted: list[UnsubEvent] = []
        self.access = Access(kernel.clock, kernel.faults, kernel.rng("marketing_cloud/tokens"), list(units),
                             clients or {"mc-client": {"secret": "mc-secret"}}, limits or {})
        self.queue = RowQueue(self.tenant, kernel.faults, queue_seconds)
        self.rest = RestEndpoint(self.tenant, self.access, kernel.faults, self.queue, rowset_reading=rowset_reading,
                                 suppress_days=suppress_days)
        self.soap = SoapEndpoint(self.tenant, self.access, kernel.faults, self._posted)
        self.ens = Notifier(self.tenant, self.access, self._lock, **(ens or {}))
        self.acts = Acts(self.tenant, self.names, self._posted)
        self._extensions = 0

    # ---- HTTP

    def handle(self, request: Request, call: Call) -> Response:
        path = re.sub("/{2,}", "/", request.path)
        request = Request(request.method, path, request.query, request.headers, request.body)
        if path.startswith("/platform/v1/ens-"):
            return self.ens.answer(request, call)
        with self._lock:
            self._tick()
            if path == "/v2/token" and request.method == "POST":
                call.route = "token"
                return self.access.token(request)
            if path == "/Service.asmx" and request.method == "POST":
                response = self.soap.answer(request, call)
            else:
                response = self.rest.answer(request, call)
            echoes = self._flush()
        self._echo(echoes)
        return response

    def _tick(self) -> None:
        self.queue.run()
        self.tenant.tick()
        if len(self.tenant.extensions) != self._extensions:
            self._extensions = len(self.tenant.extensions)
            loading.definitions(self.tenant, self.names)

    def _flush(self) -> list[tuple[str, str]]:
        """Hand new events to the notification service, and the echoes that are due at once to the caller."""
        if self._posted:
            self.ens.publish(self._posted)
            self._posted.clear()
        if not self.echo_auto:
            return []
        echoes, self.tenant.echoes = self.tenant.echoes, []
        return echoes

    def _echo(self, echoes: list[tuple[str, str]]) -> int:
        """Outside the lock: the sink belongs to another simulator."""
        sink = self.echo_sink
        return 0 if sink is None else sum(sink(key, email) for key, email in echoes)

    # ---- control

    def load(self, tables: Mapping[str, list[dict[str, Any]]]) -> None:
        """Fill the tenant with rows in the vendor's words; see ``loading``."""
        with self._lock:
            loading.load(self.tenant, tables, self.names.home)

    def world(self, after: str | None = None, limit: int | None = None, mails: bool = True) -> dict[str, Any]:
        with self._lock:
            self._tick()
            return world(self.tenant, self.names, after, limit, mails)

    def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
        actor, do = body.get("actor"), body.get("do")
        if actor == "connect":
            if do != "echo":
                raise BadAct(f"Marketing Cloud Connect knows no act {do}.")
            with self._lock:
                echoes, self.tenant.echoes = self.tenant.echoes, []
            return {"changed": self._echo(echoes)}
        with self._lock:
            self._tick()
            answer = self._platform(str(do)) if actor == "platform" else self.acts.run(body)
            echoes = self._flush()
        self._echo(echoes)
        return answer

    def _platform(self, do: str) -> dict[str, Any]:
        """What the vendor does by itself: "restart" loses queued rows, "expire_tokens" ends every session."""
        if do == "restart":
            return {"changed": self.queue.restart()}
        if do == "expire_tokens":
            return {"changed": self.access.expire_all()}
        raise BadAct(f"The platform knows no act {do}.")

    def close(self) -> None:
        """End the notification thread."""
        self.ens.close()
