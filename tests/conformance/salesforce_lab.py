"""Hands in a simulated organisation, and the connector to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from connectors.salesforce import SalesforceConnector, SalesforceSettings
from connectors.sim.kernel import Kernel
from connectors.sim.salesforce import SalesforceSim
from syncd.model import Field, StreamSpec
from tests.conformance.lab import RecordLab
from tests.conformance.simulated_lab import SimulatedLab


class SalesforceLab(SimulatedLab, RecordLab):
    """Hands in an organisation with contacts."""

    side, pages, lag = "salesforce", "/query", 30.0
    spec = StreamSpec("Contact", fields=(Field("Email"), Field("LastName"), Field("Department"),
                                         Field("HasOptedOutOfEmail", "bool")))
    email, text, flag, writable = "Email", "LastName", "HasOptedOutOfEmail", "Department"
    unknown_id = "0035g00000zzzzzAAA"
    secrets = ("sandbox-secret",)

    def __init__(self, kernel: Kernel, sim: SalesforceSim, endpoint: str, many: int, **settings: Any) -> None:
        self.kernel, self.sim, self.many = kernel, sim, many
        self.individual: str | None = None
        if sim.options.data_protection:
            self.individual = str(self._do("create", object="Individual", set={"LastName": "Everybody"})["id"])
            self._do("create", object="ContactPointTypeConsent", set={
                "Name": "n", "PartyId": self.individual, "ContactPointType": "Email", "PrivacyConsentStatus": "OptIn"})
            self.spec = replace(self.spec, fields=(Field("ContactPointTypeConsent.Email"), *self.spec.fields,
                                                   Field("ContactPointTypeConsent.Email.CaptureDate", "instant")))
        account = SalesforceSettings(client_id="sandbox-client", client_secret="sandbox-secret", endpoint=endpoint,
                                     **settings)
        self.connector = SalesforceConnector(account, clock=kernel.clock.now, sleep=kernel.clock.advance)

    def revoke(self) -> None:
        self.sim.options.client_secret = "another"
        self.sim.tokens.revoke()

    def lose_reply(self, kind: str) -> None:
        self.fault("reset_after", route="PATCH")

    def _do(self, do: str, **about: Any) -> dict[str, Any]:
        return self.sim.act({"actor": "crm_user", "crm": self.side, "do": do, "object": "Contact", **about})

    def create(self, email: str, text: str) -> str:
        party = {"IndividualId": self.individual} if self.individual else {}
        return str(self._do("create", set={"Email": email, "LastName": text, **party})["id"])

    def edit(self, id: str, text: str) -> None:
        self._do("edit", id=id, set={"LastName": text})

    def delete(self, id: str) -> None:
        self._do("delete", id=id)

    def merge(self, loser: str, winner: str) -> None:
        self._do("merge", id=loser, into=winner)

    def opt_out(self, id: str) -> None:
        self._do("edit", id=id, set={"opted_out": True})
