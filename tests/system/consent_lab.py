"""A company whose Salesforce keeps consent in rows of its own: the simulated organisation and a provider in memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.memory import World, fields
from connectors.sim.kernel import Kernel, serve
from connectors.sim.salesforce import SalesforceSim
from connectors.sim.salesforce.ids import long_form
from tests.unit.cli_lab import Lab

CONFIG = """\
state: state/syncd.db
journal: journal/consent.log
hash_key: ${{file:hash_key}}
mappings: [mapping.yaml]
connections:
  sf:
    type: salesforce
    endpoint: http://127.0.0.1:{port}
    auth: {{flow: client_credentials, client_id: sandbox-client, client_secret: "${{file:secret}}"}}
  mc: {{type: memory, socket: {socket}, name: mc}}
"""
MAPPING = """\
people:
  same_email: separate
  sources:
    sf.Contact:
      attributes: {email: Email, first_name: FirstName}
      contact_point_consent: {purpose: Marketing, person_made: "method = 'web'"}
topics:
  offers:
    name: Offers
    opt_in: required
    consent:
      sf.Contact: {field: Offers__c, "true": opt_in, "false": unknown}
      sf: {comm_subscription: Weekly_Offers, person_made: "method = 'web'"}
  news: {name: News, opt_in: none, consent: {sf: {comm_subscription: News}}}
destinations:
  mc:
    connection: mc
    subscriber_key: {value: crm_id, existing: match_email}
    topics:
      offers: {publication_list: L1, audience: {data_extension: {key: OFFERS}}, fields: {first_name: first_name}}
      news: {publication_list: L2, audience: {data_extension: {key: NEWS}}, fields: {first_name: first_name}}
"""
PEOPLE = 12
LONELY = 2
"""So many contacts, the last ones, point to no Individual."""


class Company(Lab):
    """Contacts who asked for offers, all but two with an Individual; a provider with two lists."""

    def __init__(self, directory: Path, world: World, people: int = PEOPLE) -> None:
        super().__init__(directory, world)
        known = people - LONELY
        self.kernel = Kernel(seed=2)
        self.sim = SalesforceSim(self.kernel, data_protection=True, custom_fields={"Contact": {"Offers__c": "checkbox"}})
        then = int(self.kernel.clock.now()) - 86_400
        self.sim.load({
            "Individual": [{"Id": f"0PK5g0000000{n:03}", "LastName": f"N{n}"} for n in range(1, known + 1)],
            "Contact": [{"Id": self.rid(n), "LastName": f"N{n}", "FirstName": f"F{n}", "Email": f"p{n}@x.example",
                         "Offers__c": True, "SystemModstamp": then, "IndividualId": self.party(n) if n <= known else None}
                        for n in range(1, people + 1)],
            "DataUsePurpose": [{"Id": "0ZW5g0000000001", "Name": "Marketing"}],
            "CommSubscription": [{"Id": f"0Xl5g000000000{n}", "Name": s} for n, s in ((1, "Weekly Offers"), (2, "News"))],
            "CommSubscriptionChannelType": [{"Id": f"0eB5g000000000{n}", "Name": "by mail", "SystemModstamp": then,
                                             "CommSubscriptionId": f"0Xl5g000000000{n}"} for n in (1, 2)],
            "ContactPointTypeConsent": [{"Name": "found", "PartyId": self.party(9), "ContactPointType": "Email",
                                         "DataUsePurposeId": "0ZW5g0000000001", "PrivacyConsentStatus": "OptOut",
                                         "SystemModstamp": then}]})
        self.server = serve(self.kernel, "salesforce", self.sim.handle)
        self.world.create_esp("mc", ["L1", "L2"], {
            f"de:{s}": {"fields": fields("first_name"), "list": list_} for s, list_ in (("OFFERS", "L1"), ("NEWS", "L2"))})
        self.write(mapping=MAPPING)
        (directory / "secret").write_text("sandbox-secret\n")
        self.config.write_text(CONFIG.format(socket=world.address, port=self.server.server_address[1]))

    @staticmethod
    def rid(number: int) -> str:
        return f"0035g0000000{number:03}"

    @staticmethod
    def party(number: int) -> str:
        return long_form(f"0PK5g0000000{number:03}")

    def user(self, do: str, object: str, **body: Any) -> str:
        """What an employee does at the screen."""
        return str(self.sim.act({"actor": "crm_user", "crm": "salesforce", "do": do, "object": object, **body}).get("id"))

    def say(self, number: int, status: str, list_: int | None = None, **more: Any) -> str:
        """A new row of consent, to a subscription or (``list_`` None) to marketing by email."""
        if list_ is None:
            return self.user("create", "ContactPointTypeConsent", set={
                "Name": "said", "PartyId": self.party(number), "ContactPointType": "Email", "PrivacyConsentStatus": status,
                "DataUsePurposeId": "0ZW5g0000000001", **more})
        return self.user("create", "CommSubscriptionConsent", set={
            "Name": "said", "ConsentGiverId": self.party(number), "PrivacyConsentStatus": status,
            "CommSubscriptionChannelTypeId": f"0eB5g000000000{list_}", "EffectiveFromDate": "2026-01-01", **more})

    def once(self) -> Any:
        self.kernel.clock.advance(700)
        return self.ask("once")

    def held(self, number: int, object: str = "CommSubscriptionConsent") -> list[str]:
        """The status of the rows about somebody's Individual."""
        rows = self.sim.db.tables[object].rows.values()
        return [r["PrivacyConsentStatus"] for r in rows if not r.get("IsDeleted") and self.party(number)[:15] in (
            str(r.get("PartyId"))[:15], str(r.get("ConsentGiverId"))[:15])]

    def mailed(self) -> dict[str, set[int]]:
        """Who gets what."""
        return {name: {int(a.partition("@")[0][1:]) for a in self.world.send("mc", f"de:{name}", list_)["mailed"]}
                for name, list_ in (("OFFERS", "L1"), ("NEWS", "L2"))}

    def boxes(self) -> set[int]:
        """Whose contact has "Email Opt Out" set."""
        return {int(p["email"].partition("@")[0][1:]) for p in self.sim.world(None, None)["people"] if p["opted_out"]}

    def now(self) -> str:
        """The organisation's time, as its API writes it."""
        return dt.datetime.fromtimestamp(self.kernel.clock.now(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def linked(directory: Path, seed: int, people: int = PEOPLE) -> Iterator[Company]:
    """The company after its first plan was approved and delivered."""
    with World.start(seed=seed) as world:
        made = Company(directory, world, people)
        try:
            made.ask("once", "--approve")
            yield made
        finally:
            made.server.shutdown()
            made.server.server_close()
