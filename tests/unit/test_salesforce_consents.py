"""ContactPointTypeConsent and CommSubscriptionConsent, read and written through the simulator."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.errors import CursorLost, Misconfigured
from connectors.salesforce import SalesforceConnector
from connectors.salesforce.consent.objects import ENDED, Consent, value_of
from syncd.model import Batch, Field, Op, Page, StreamSpec, Value
from tests.unit.salesforce_org import Org, id18

DAY = 86_400
EMAIL, OFFERS = "ContactPointTypeConsent.Email", "CommSubscriptionConsent.Weekly_Offers"
SPEC = StreamSpec("Contact", fields=(
    Field("Email"), Field(EMAIL), Field(EMAIL + ".CaptureDate", "instant"), Field(OFFERS), Field(OFFERS + ".CaptureSource")))
PARTY = "0PK5g0000000001"


class Company(Org):
    """Ten contacts of whom the first two point to one Individual, and the third to another; one subscription with a channel
    for mail and one for phones."""

    def __init__(self, **options: Any) -> None:
        super().__init__(10, data_protection=True, **options)
        self.sim.load({
            "Individual": [{"Id": f"0PK5g000000000{n}", "LastName": f"N{n}"} for n in (1, 2)],
            "CommSubscription": [{"Id": "0Xl5g0000000001", "Name": "Weekly Offers"}],
            "EngagementChannelType": [{"Id": f"0eF5g000000000{n}", "Name": kind, "ContactPointType": kind}
                                      for n, kind in enumerate(("Email", "Phone"), 1)],
            "CommSubscriptionChannelType": [
                {"Id": f"0eB5g000000000{n}", "Name": "x", "CommSubscriptionId": "0Xl5g0000000001",
                 "EngagementChannelTypeId": f"0eF5g000000000{n}"} for n in (1, 2)]})
        for number, party in ((1, 1), (2, 1), (3, 2)):
            self.user("edit", id=id18(self, number), set={"IndividualId": f"0PK5g000000000{party}"})
        self.kernel.clock.advance(3600)

    def add(self, object: str, **values: Any) -> str:
        """A row that an employee makes."""
        own = ({"PartyId": PARTY, "ContactPointType": "Email"} if object == "ContactPointTypeConsent" else
               {"ConsentGiverId": PARTY, "CommSubscriptionChannelTypeId": "0eB5g0000000001",
                "EffectiveFromDate": "2026-01-01"})
        made = self.sim.act({"actor": "crm_user", "crm": "salesforce", "do": "create", "object": object,
                             "set": {"Name": "n", **own, **values}})
        return str(made["id"])

    def held(self, object: str) -> list[tuple[Any, ...]]:
        """(party, status, source) of its rows."""
        rows = [r for r in self.sim.db.tables[object].rows.values() if not r.get("IsDeleted")]
        return sorted((str(r.get("PartyId") or r.get("ConsentGiverId"))[:15], r.get("PrivacyConsentStatus"),
                       r.get("CaptureSource") or r.get("ConsentCapturedSource")) for r in rows)

    def iso(self, days: float) -> str:
        """So many days from now, as the API writes it."""
        at = dt.datetime.fromtimestamp(self.kernel.clock.now() + days * DAY, dt.UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def company() -> Iterator[Company]:
    made = Company()
    yield made
    made.close()


def status(c: SalesforceConnector, *contacts: str, field: str = EMAIL) -> list[Value]:
    at = SPEC.columns.index(field)
    found = {row[0]: row[at] for row in c.fetch(SPEC, contacts).rows}
    return [found[contact] for contact in contacts]


def write(c: SalesforceConnector, columns: tuple[str, ...], *wishes: tuple[str, tuple[Value, ...]]) -> list[str]:
    ops = [Op(n, key, None, values) for n, (key, values) in enumerate(wishes)]
    return [f"{o.state} {(o.reason or '').partition(':')[0]}".strip()
            for o in c.apply(Batch("update", "Contact", columns, ops))]


def test_the_places_are_described_where_there_are_individuals(company: Company) -> None:
    company.sim.load({"DataUsePurpose": [{"Name": "Marketing"}, {"Name": "1st party"}, {"Name": "Same"}, {"Name": "same"}]})
    c = company.connect()
    found = c.describe(["Contact", "Account"]).objects
    fields = {f.name: f for f in found["Contact"].fields if "Consent." in f.name}
    assert sorted(n for n in fields if n.count(".") == 1) == [
        OFFERS, EMAIL, EMAIL + "_Marketing", EMAIL + "__1st_party"]
    assert (fields[EMAIL].type, fields[EMAIL].writable, fields[EMAIL].choices) == (
        "text", True, ("OptIn", "OptOut", "Seen", "NotSeen"))
    assert not [f.name for f in found["Account"].fields if "Consent." in f.name]
    mapped = c.describe(["Contact"], {"Contact": ["Email"]}).objects["Contact"].fields
    assert not [f.name for f in mapped if "Consent." in f.name]
    with pytest.raises(Misconfigured, match=r"CommSubscriptionConsent\.None"):
        list(c.changes(StreamSpec("Contact", fields=(Field("CommSubscriptionConsent.None"),)), None))


@pytest.mark.parametrize("settings", [{}, {"bulk_threshold": 5, "bulk_page": 3}])
def test_a_first_reading_tells_the_consent_of_every_contact_of_a_party(company: Company, settings: dict[str, Any]) -> None:
    company.add("ContactPointTypeConsent", PrivacyConsentStatus="OptOut", CaptureDate="2026-01-02T00:00:00Z")
    company.add("CommSubscriptionConsent", PrivacyConsentStatus="OptIn", ConsentCapturedSource="web",
                ConsentGiverId="0PK5g0000000002")
    company.kernel.clock.advance(600)
    pages = list(company.connect(**settings).changes(SPEC, None))
    found = {row[0]: row[4:] for page in pages for row in page.rows}
    assert [found[id18(company, n)][1] for n in (1, 2, 3, 4)] == ["OptOut", "OptOut", None, None]
    assert found[id18(company, 1)][2] == 1_767_312_000_000_000
    assert found[id18(company, 3)][3:] == ("OptIn", "web")
    assert [(p.last, p.complete) for p in pages][-1] == (True, True)
    assert not any(p.last or p.complete for p in pages[:-1])


def test_later_readings_follow_the_consent_and_not_only_the_contacts(company: Company) -> None:
    c = company.connect(page_size=200)
    cursor = list(c.changes(SPEC, None))[-1].cursor
    company.kernel.clock.advance(3600)

    def news(cursor: str) -> tuple[dict[Value, Value], str]:
        pages: list[Page] = list(c.changes(SPEC, cursor))
        assert [p.last for p in pages] == [False] * (len(pages) - 1) + [True]
        return {row[0]: row[5] for page in pages for row in page.rows}, pages[-1].cursor
    assert news(cursor)[0] == {}
    consent = company.add("ContactPointTypeConsent", PrivacyConsentStatus="OptOut")
    company.kernel.clock.advance(60)
    found, cursor = news(cursor)
    assert found == {id18(company, 1): "OptOut", id18(company, 2): "OptOut"}
    company.kernel.clock.advance(3600)
    company.user("edit", object="ContactPointTypeConsent", id=consent, set={"PrivacyConsentStatus": "OptIn"})
    company.kernel.clock.advance(60)
    found, cursor = news(cursor)
    assert set(found.values()) == {"OptIn"}
    company.kernel.clock.advance(3600)
    company.user("delete", object="ContactPointTypeConsent", id=consent)
    company.kernel.clock.advance(60)
    assert news(cursor)[0] == {id18(company, 1): None, id18(company, 2): None}
    with pytest.raises(CursorLost):
        list(c.changes(SPEC, list(c.changes(StreamSpec("Contact", fields=(Field("Email"),)), None))[-1].cursor))


def test_a_period_that_ends_or_begins_is_seen_within_the_hour(company: Company) -> None:
    company.add("ContactPointTypeConsent", PrivacyConsentStatus="OptIn", EffectiveTo=company.iso(2.5))
    company.add("CommSubscriptionConsent", PrivacyConsentStatus="OptIn", ConsentGiverId="0PK5g0000000002",
                EffectiveFromDate=company.iso(3)[:10])
    company.kernel.clock.advance(60)
    c, first, third = company.connect(), id18(company, 1), id18(company, 3)
    cursor = list(c.changes(SPEC, None))[-1].cursor
    told: dict[Value, Value] = {}
    for _ in range(4):
        company.kernel.clock.advance(DAY)
        for page in c.changes(SPEC, cursor):
            cursor = page.cursor
            told |= {row[0]: row[5] if row[0] == first else row[7] for row in page.rows}
    assert (told[first], told[third]) == (ENDED, "OptIn")


def test_a_consent_belongs_to_the_party_of_the_contact_point(company: Company) -> None:
    """Who gave it may have given it for somebody else."""
    company.sim.load({"ContactPointEmail": [
        {"Id": "9Vl5g0000000001", "ParentId": "0PK5g0000000002", "EmailAddress": "x@y.example"}]})
    c = company.connect()
    cursor = list(c.changes(SPEC, None))[-1].cursor
    company.add("CommSubscriptionConsent", PrivacyConsentStatus="OptOut", ContactPointId="9Vl5g0000000001")
    company.add("CommSubscriptionConsent", PrivacyConsentStatus="OptOut", CommSubscriptionChannelTypeId="0eB5g0000000002")
    assert status(c, id18(company, 1), id18(company, 3), field=OFFERS) == [None, "OptOut"]
    company.kernel.clock.advance(60)
    told = {row[0]: row[7] for page in c.changes(SPEC, cursor) for row in page.rows}
    assert told[id18(company, 3)] == "OptOut"


def test_a_refusal_changes_what_is_in_force_or_is_made(company: Company) -> None:
    company.add("ContactPointTypeConsent", PrivacyConsentStatus="OptIn", EffectiveTo=company.iso(-1), CaptureSource="over")
    company.add("ContactPointTypeConsent", PrivacyConsentStatus="OptIn", CaptureSource="web")
    company.add("ContactPointTypeConsent", PrivacyConsentStatus="OptIn", ContactPointType="Phone", CaptureSource="phone")
    c, ids = company.connect(), [id18(company, n) for n in range(1, 5)]
    assert write(c, ("HasOptedOutOfEmail", EMAIL, OFFERS), *((i, (1, "OptOut", "OptOut")) for i in ids)) == [
        "done", "done", "done", "rejected NO_INDIVIDUAL"]
    assert [p["opted_out"] for p in company.sim.world(None, None)["people"] if p["id"] in ids] == [True] * 4
    other = "0PK5g0000000002"
    assert company.held("ContactPointTypeConsent") == [
        (PARTY, "OptIn", "over"), (PARTY, "OptIn", "phone"), (PARTY, "OptOut", "syncd"), (other, "OptOut", "syncd")]
    assert company.held("CommSubscriptionConsent") == [(PARTY, "OptOut", "syncd"), (other, "OptOut", "syncd")]
    assert status(c, *ids) == ["OptOut"] * 3 + [None]
    before = company.held("ContactPointTypeConsent")
    assert write(c, (EMAIL,), *((i, ("OptOut",)) for i in ids[:3])) == ["done"] * 3
    assert company.held("ContactPointTypeConsent") == before, "what is refused already is left as it is"


def test_who_came_back_has_the_refusals_turned_and_no_date_of_ours(company: Company) -> None:
    company.add("ContactPointTypeConsent", PrivacyConsentStatus="OptOut", CaptureDate=company.iso(-9), CaptureSource="mail")
    c, contact = company.connect(), id18(company, 1)
    assert write(c, (EMAIL, OFFERS), (contact, ("OptIn", "OptIn"))) == ["done"]
    assert [row[1:] for row in company.held("ContactPointTypeConsent")] == [("OptIn", "syncd")]
    assert company.held("CommSubscriptionConsent") == []
    row = c.fetch(SPEC, [contact]).rows[0]
    assert row[5:7] == ("OptIn", None), "nobody could take it for the person's word"
    assert write(c, (EMAIL,), (contact, ("Seen",))) == ["rejected INVALID_STATUS"]


def test_a_new_consent_names_the_contact_point_of_that_address(company: Company) -> None:
    company.sim.load({"ContactPointEmail": [
        {"Id": f"9Vl5g000000000{n}", "ParentId": PARTY, "EmailAddress": address}
        for n, address in ((1, "other@x.example"), (2, "U1@x.example"))]})
    assert write(company.connect(), (OFFERS,), (id18(company, 1), ("OptOut",))) == ["done"]
    row, = company.sim.db.tables["CommSubscriptionConsent"].rows.values()
    assert (row["ContactPointId"][:15], row["EffectiveFromDate"]) == ("9Vl5g0000000002", company.iso(0)[:10])


def test_individuals_are_made_only_where_that_is_asked_for(company: Company) -> None:
    c, contact = company.connect(create_individuals=True), id18(company, 4)
    assert write(c, (EMAIL,), (contact, ("OptOut",)), (id18(company, 5), ("OptIn",))) == ["done", "rejected NO_INDIVIDUAL"]
    assert status(c, contact) == ["OptOut"]
    person, = (p for p in company.sim.world(None, None)["people"] if p["id"] == contact)
    made = company.sim.db.tables["Individual"].rows[person["fields"]["IndividualId"]]
    assert made["LastName"] == person["fields"]["LastName"]


def test_check_says_where_no_individual_can_be_made(company: Company) -> None:
    def told(made: Org) -> bool:
        return any("create_individuals" in f.message for f in made.connect(create_individuals=True).check().findings)
    bare = Org(1)
    assert (told(company), told(bare)) == (False, True)
    bare.close()


def test_a_row_that_salesforce_refuses_refuses_its_contact_only(company: Company) -> None:
    company.sim.options.read_only_fields = {"CommSubscriptionConsent": ["ConsentGiverId"]}
    assert write(company.connect(), ("HasOptedOutOfEmail", OFFERS), (id18(company, 1), (1, "OptOut"))) == [
        "rejected INVALID_FIELD_FOR_INSERT_UPDATE"]
    opted_out = [p["id"] for p in company.sim.world(None, None)["people"] if p["opted_out"]]
    assert opted_out == [id18(company, 1)], "what can be held is held"


def test_a_lost_reply_makes_no_second_row(company: Company) -> None:
    c, contact = company.connect(), id18(company, 1)
    c.login()
    company.fault("reset_after", route="POST", count=1)
    assert write(c, (EMAIL,), (contact, ("OptOut",))) == ["unknown"]
    assert status(c, contact) == ["OptOut"]
    assert write(c, (EMAIL,), (contact, ("OptOut",))) == ["done"]
    assert len(company.held("ContactPointTypeConsent")) == 1


NOW, LATER = 1_000, 10**15
DATED = Consent("CommSubscriptionConsent", "1", "0PK", "OptIn", LATER, None, None, "web",
                {"EffectiveFromDate": "2001-09-09"})


def row(status: str, *, since: int | None = None, until: int | None = None, at: int | None = None, how: str = "web",
        id: str = "1") -> Consent:
    return Consent("ContactPointTypeConsent", id, "0PK", status, since, until, at, how, {})


@pytest.mark.parametrize(("rows", "told"), [
    ([], (None, None, None)),
    ([row("OptIn", at=5)], ("OptIn", 5, "web")),
    ([row("OptIn", since=5)], ("OptIn", 5, "web")),
    ([row("OptIn", at=5, how="syncd")], ("OptIn", None, "syncd")),
    ([row("OptOut", at=5), row("OptIn", at=9, id="2")], ("OptOut", 5, "web")),
    ([row("OptOut", at=5, until=900), row("OptIn", at=9, id="2")], ("OptIn", 9, "web")),
    ([row("OptIn", at=5, until=900)], (ENDED, None, None)),
    ([row("OptOut", at=5, until=900)], (None, None, None)),
    ([row("OptIn", at=5, until=900), row("NotSeen", at=3, id="2")], ("NotSeen", 3, "web")),
    ([row("OptIn", since=2_000)], (None, None, None)),
    ([row("OptOut", since=2_000)], ("OptOut", 2_000, "web")),
])
def test_many_rows_are_one_value(rows: list[Consent], told: tuple[Value, Value, Value]) -> None:
    assert value_of(rows, NOW) == told
    assert value_of(rows[::-1], NOW) == told


@pytest.mark.parametrize(("row", "said"), [
    (DATED, LATER - 14 * 3_600_000_000), (DATED._replace(status="OptOut"), None), (DATED._replace(captured=7), 7),
    (DATED._replace(captured=7, status="OptOut"), 7), (DATED._replace(how="syncd"), None)])
def test_a_day_is_no_instant(row: Consent, said: int | None) -> None:
    """Nobody knows when on that day, nor where: a consent may be of its begin, a refusal of its end."""
    assert value_of([row], 2 * LATER)[1] == said
