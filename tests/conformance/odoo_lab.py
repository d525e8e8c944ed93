"""Hands at a simulated Odoo server, and the connector to it."""

from __future__ import annotations

from typing import Any

from connectors.odoo import OdooConnector, OdooSettings
from connectors.sim.kernel import Call, Kernel, Request, Response, serve
from connectors.sim.odoo import OdooSim
from syncd.model import Field, StreamSpec
from tests.conformance.lab import RecordLab, StatusLab
from tests.conformance.simulated_lab import SimulatedLab


class OdooLab(SimulatedLab, RecordLab, StatusLab):
    """Hands at a server with partners and two mailing lists."""

    side = "odoo"
    spec = StreamSpec("res.partner", fields=(Field("email"), Field("name"), Field("function")))
    email, text, writable = "email", "name", "function"
    refused = ("name", None)
    unknown_id = "999999"
    secrets = ("key-sync",)
    containers = ("", "1", "2")
    opt_outs_only = frozenset({""})

    def __init__(self, kernel: Kernel, sim: OdooSim) -> None:
        self.kernel, self.sim = kernel, sim
        self.losing = False
        self.server = serve(kernel, sim.side, self.handle)
        self.connector = OdooConnector(
            OdooSettings(url=f"http://127.0.0.1:{self.server.server_address[1]}", database="odoo",
                         user="sync@example.test", api_key="key-sync", page_size=3), clock=kernel.clock.now)

    def handle(self, request: Request, call: Call) -> Response:
        """Every method has the same path, so the reply to be lost is chosen here."""
        response = self.sim.handle(request, call)
        if self.losing and call.write:
            self.losing = False
            response.reset = True
        return response

    def close(self) -> None:
        self.connector.close()
        self.server.shutdown()
        self.server.server_close()

    def revoke(self) -> None:
        self.sim.access.users[8].keys = ()
        self.sim.access.verified.clear()

    def lose_reply(self, kind: str) -> None:
        self.losing = True

    def _do(self, do: str, model: str = "res.partner", **about: Any) -> dict[str, Any]:
        return self.sim.act({"actor": "crm_user", "crm": self.side, "do": do, "object": model, **about})

    def create(self, email: str, text: str) -> str:
        return str(self._do("create", set={"email": email, "name": text})["id"])

    def edit(self, id: str, text: str) -> None:
        self._do("edit", id=id, set={"name": text})

    def delete(self, id: str) -> None:
        self._do("delete", id=id)

    def merge(self, loser: str, winner: str) -> None:
        self._do("merge", id=loser, into=winner)

    def join(self, key: str, email: str) -> str:
        topics = {"offers": True, "news": True}
        self._do("create", "mailing.contact", set={"name": key, "email": email, "topics": topics})
        return email

    def unsubscribe(self, key: str, email: str, container: str) -> None:
        place: Any = {"topic": {"1": "offers", "2": "news"}[container]} if container else "all"
        assert self.sim.act({"actor": "recipient", "do": "unsubscribe", "email": email, "from": place})["changed"]
