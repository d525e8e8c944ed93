"""Consent that Salesforce keeps in rows of its own, from the simulated organisation to a provider and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
LONELY = 11
"""The last two contacts point to no Individual."""


class Company(Lab):
    """Twelve contacts who asked for offers, all but two with an Individual; a provider with two lists."""

    def __init__(self, directory: Path, world: World) -> None:
        super().__init__(directory, world)
        self.kernel = Kernel(seed=2)
        self.sim = SalesforceSim(self.kernel, data_protection=True, custom_fields={"Contact": {"Offers__c": "checkbox"}})
        then = int(self.kernel.clock.now()) - 86_400
        self.sim.load({
            "Individual": [{"Id": f"0PK5g0000000{n:03}", "LastName": f"N{n}"} for n in range(1, LONELY)],
            "Contact": [{"Id": self.rid(n), "LastName": f"N{n}", "FirstName": f"F{n}", "Email": f"p{n}@x.example",
                         "Offers__c": True, "SystemModstamp": then, "IndividualId": self.party(n) if n < LONELY else None}
                        for n in range(1, PEOPLE + 1)],
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


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with World.start(seed=3) as world:
        made = Company(tmp_path_factory.mktemp("objects"), world)
        try:
            made.ask("once", "--approve")
            yield made
        finally:
            made.server.shutdown()
            made.server.server_close()


EVERYONE = set(range(1, PEOPLE + 1))


def test_a_refusal_found_at_the_first_link_stops_all_mail_and_reaches_the_box(company: Company) -> None:
    assert company.mailed() == {"OFFERS": EVERYONE - {9}, "NEWS": EVERYONE - {9}}
    assert company.boxes() == {9}
    assert (company.held(9, "ContactPointTypeConsent"), company.held(1), company.held(9)) == (["OptOut"], [], [])


def test_who_leaves_at_the_provider_leaves_in_the_consent_objects(company: Company) -> None:
    company.world.act("mc", "unsubscribe", email="p1@x.example", list="L1")
    company.world.act("mc", "unsubscribe", email="p2@x.example")
    company.world.act("mc", "unsubscribe", email="p12@x.example", list="L1")
    company.once()
    held = [(company.held(n), company.held(n, "ContactPointTypeConsent")) for n in (1, 2)]
    assert held == [(["OptOut"], []), ([], ["OptOut"])], "nothing wider, nothing narrower"
    assert company.boxes() == {2, 9}
    assert company.once()["plan"]["counts"] == [], "our own rows are echoes"
    assert company.ask("quarantine", "list")["quarantine"] == []


def test_whose_contact_has_no_individual_is_out_all_the_same_and_that_is_said(company: Company) -> None:
    assert LONELY + 1 not in company.mailed()["OFFERS"]
    found = [f["message"] for f in company.ask("doctor", exit=2)["findings"] if "IndividualId" in f["message"]]
    assert [message.partition(":")[0] for message in found] == ["2 of 12 records of sf.Contact have no IndividualId"]
    told = company.run("explain", "-", input="p12@x.example\n").stdout
    assert "CommSubscriptionConsent.Weekly_Offers = None means nothing; cannot be held: no IndividualId" in told


def test_a_refusal_made_in_the_consent_objects_stops_the_mail_everywhere(company: Company) -> None:
    said = company.say(3, "OptOut", 2)
    company.say(4, "OptOut")
    company.once()
    mailed = company.mailed()
    assert (3 in mailed["NEWS"], 3 in mailed["OFFERS"], 4 in mailed["NEWS"] | mailed["OFFERS"]) == (False, True, False)
    assert 4 in company.boxes()
    history = company.ask("consent", "history", "-", input="p3@x.example\n")["statements"]
    assert [(s["state"], s["topic"], s["source"], s["person_made"]) for s in history if s["topic"] == "news"] == [
        ("opt_out", "news", "sf.Contact", False)]
    # Who has it turned back by an employee stays out, and the row is set again.
    company.user("edit", "CommSubscriptionConsent", id=said, set={"PrivacyConsentStatus": "OptIn"})
    company.once()
    assert 3 not in company.mailed()["NEWS"]
    assert company.held(3) == ["OptOut"]
    # So does whose row is deleted.
    said = company.say(10, "OptOut", 2)
    company.once()
    company.user("delete", "CommSubscriptionConsent", id=said)
    company.once()
    assert 10 not in company.mailed()["NEWS"]
    assert company.held(10) == ["OptOut"]


def test_coming_back_needs_the_person_s_word(company: Company) -> None:
    said = company.say(5, "OptOut", 1)
    company.once()
    assert 5 not in company.mailed()["OFFERS"]
    company.kernel.clock.advance(3600)
    company.user("edit", "CommSubscriptionConsent", id=said, set={
        "PrivacyConsentStatus": "OptIn", "ConsentCapturedSource": "web", "ConsentCapturedDateTime": company.now()})
    company.once()
    assert 5 in company.mailed()["OFFERS"]
    assert company.held(5) == ["OptIn"]
    company.world.act("mc", "unsubscribe", email="p5@x.example", list="L1")
    company.once()
    words = ("--topic", "offers", "--evidence", "a letter", "--by", "Kim")
    company.ask("consent", "grant", "-", *words, input="p5@x.example\n")
    company.once()
    assert company.held(5) == ["OptIn"], "the ledger turns what it refused"
    assert 5 in company.mailed()["OFFERS"]


def test_what_says_nothing_changes_nothing(company: Company) -> None:
    for number, status in ((6, "Seen"), (7, "NotSeen"), (8, "OptIn")):
        company.say(number, status, 2)
    company.say(6, "OptOut", 2, EffectiveToDate="2026-02-01")
    head = company.ask("status")["ledger"]
    company.once()
    assert company.ask("status")["ledger"] == head
    assert {6, 7, 8} <= company.mailed()["NEWS"]


def test_consent_that_ends_is_consent_no_more(company: Company) -> None:
    """It was given in January and the employee ends it: that is no refusal of the past, but of now."""
    row = next(r["Id"] for r in company.sim.db.tables["CommSubscriptionConsent"].rows.values()
               if r["ConsentGiverId"] == company.party(8))
    company.user("edit", "CommSubscriptionConsent", id=row, set={"EffectiveToDate": "2026-02-01"})
    company.once()
    assert 8 not in company.mailed()["NEWS"]
    assert company.held(8) == ["OptIn", "OptOut"]


def test_the_audit_finds_what_a_poll_cannot_see(company: Company) -> None:
    """A refusal whose time is over counts there no more; here it does."""
    row = next(r for r in company.sim.db.tables["CommSubscriptionConsent"].rows.values()
               if r["ConsentGiverId"][:15] == company.party(1)[:15])
    company.sim.db.put("CommSubscriptionConsent", {**row, "EffectiveToDate": "2026-02-01"})
    told = company.ask("audit", "--all", exit=0)
    assert [(d["where"], d["kind"]) for d in told["disagreements"]] == [
        ("Contact.CommSubscriptionConsent.Weekly_Offers", "still_open")]
    assert sorted(company.held(1)) == ["OptOut", "OptOut"]
    assert 1 not in company.mailed()["OFFERS"]
