"""The sandbox's world: is it the same each time, and as messy as it claims?"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.sim import sandbox
from connectors.sim.marketing_cloud.values import valid_email
from connectors.sim.salesforce import values as salesforce_values
from connectors.sim.sandbox import Sandbox
from connectors.sim.world import Population
from connectors.sim.world.marketing_cloud import MarketingCloudRows
from connectors.sim.world.odoo import OdooRows
from connectors.sim.world.salesforce import SalesforceRows
from syncd.normalise import email as normal
from tests.conformance.sandbox_lab import Client

SIZE = 3_000
TODAY = 1_750_000_000 // 86_400 * 86_400
SIDES = ("salesforce", "odoo", "marketing_cloud")


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """Nobody acts in it."""
    with sandbox.start(SIZE, 7) as running:
        yield running


@pytest.fixture(scope="module")
def people(box: Sandbox) -> dict[str, list[dict[str, Any]]]:
    """The CRMs' people."""
    client = Client(box.control_url)
    return {side: client.world(side)["people"] for side in ("salesforce", "odoo")}


# --------------------------------------------------------------------------- the same world each time

def _rows(population: Population) -> list[Any]:
    sources = (SalesforceRows(population), OdooRows(population), MarketingCloudRows(population))
    return [(source.furniture(), source.tables(population)) for source in sources]


def test_seed_size_and_day_make_the_world() -> None:
    world = _rows(Population(5, 400, TODAY))
    assert world == _rows(Population(5, 400, TODAY))
    assert world != _rows(Population(6, 400, TODAY))
    assert world != _rows(Population(5, 400, TODAY + 86_400))


def test_a_person_does_not_depend_on_who_was_asked_for_before() -> None:
    one, other = Population(5, 400, TODAY), Population(5, 400, TODAY)
    assert [one.human(n) for n in range(400)] == [other.human(n) for n in reversed(range(400))][::-1]
    whole, parts = SalesforceRows(one).tables(one), SalesforceRows(one)
    halves = [parts.tables(itertools.islice(one, *span)) for span in ((0, 150), (150, 400))]
    assert {name: halves[0][name] + halves[1][name] for name in whole} == whole


def test_two_sandboxes_of_one_seed_tell_the_same_truth() -> None:
    with sandbox.start(120, 2) as one, sandbox.start(120, 2) as other:
        for side in SIDES:
            first, second = (Client(b.control_url).world(side) for b in (one, other))
            assert _ageless(first) == _ageless(second)


def _ageless(value: Any) -> Any:
    """Without the instants that depend on when the sandbox was started."""
    if isinstance(value, dict):
        skipped = ("SystemModstamp", "LastModifiedDate", "create_date", "write_date")
        return {k: _ageless(v) for k, v in value.items() if k not in skipped}
    return [_ageless(v) for v in value] if isinstance(value, list) else value


def test_nothing_looks_newer_than_yesterday(box: Sandbox, people: dict[str, list[dict[str, Any]]]) -> None:
    """Or every reader that looks back some hours would take the whole world for news."""
    limit = box.kernel.clock.now() - 3_600
    for table in box.salesforce.db.tables.values():
        assert all(row[table.spec.stamp] < limit for row in table.rows.values())
    assert box.odoo is not None
    for rows in box.odoo.db.tables.values():
        assert all(row.get("write_date", 0) < limit * 1e6 for row in rows.rows.values())
    assert all(s.created < limit for s in box.marketing_cloud.tenant.subscribers.values())


# --------------------------------------------------------------------------- how messy it is

def _share(part: float, whole: float = SIZE) -> float:
    return round(part / whole, 3)


def test_where_people_are(people: dict[str, list[dict[str, Any]]]) -> None:
    humans = list(Population(7, 10_000, TODAY))
    twice = [h for h in humans if h.in_salesforce and h.shape == "lead_and_contact"]
    assert _share(sum(h.in_salesforce for h in humans), 10_000) == pytest.approx(0.60, abs=0.02)
    assert _share(sum(h.in_odoo for h in humans), 10_000) == pytest.approx(0.45, abs=0.02)
    assert _share(len(twice), 10_000) == pytest.approx(0.03, abs=0.01)
    assert all(h.in_salesforce or h.in_odoo for h in humans)
    records = Counter(p["object"] for side in people.values() for p in side)
    assert set(records) == {"Contact", "Lead", "res.partner", "crm.lead", "mailing.contact"}


def test_salesforce_is_messy(box: Sandbox, people: dict[str, list[dict[str, Any]]]) -> None:
    found = people["salesforce"]
    fields = [p["fields"] for p in found]
    assert sum(p["deleted"] for p in found) > 5
    assert sum("merged_into" in p for p in found) > 1
    assert sum(f.get("IsConverted") is True for f in fields) > 20
    assert sum(row.get("IsPersonAccount") is True for row in box.salesforce.db.tables["Account"].rows.values()) > 100
    for topic in ("offers", "news", "academy"):
        assert len({p["topics"][topic] for p in found}) >= 2
    assert {f.get("News_Status__c") for f in fields} == {"Subscribed", "Unsubscribed", None}
    assert {f.get("Academy_Status__c") for f in fields} == {"Requested", "Confirmed", "Declined", None}
    assert len({f.get("Opt_In_Source__c") for f in fields if f.get("Offers_Opt_In__c")}) == 5
    by_address: dict[str | None, list[bool]] = {}
    for p in found:
        if not p["deleted"] and normal(p["email"]):
            by_address.setdefault(normal(p["email"]), []).append(p["opted_out"])
    assert any(True in flags and False in flags for flags in by_address.values()), "an opted-out duplicate"
    orders = box.salesforce.db.tables["Opportunity"].rows.values()
    assert any(o["StageName"] == "Closed Won" and o["CloseDate"][:4] == "2020" and o["Amount"] > 100 for o in orders)
    assert {o["CurrencyIsoCode"] for o in orders} == {"EUR", "USD"}
    names = "".join(f.get("FirstName", "") + f["LastName"] for f in fields)
    for odd in ("🦊", "\u0007", "\u200b", "'"):
        assert odd in names


def test_odoo_is_messy(box: Sandbox, people: dict[str, list[dict[str, Any]]]) -> None:
    assert box.odoo is not None
    partners = [p for p in people["odoo"] if p["object"] == "res.partner" and not p["fields"]["is_company"]]
    assert any(not p["fields"]["active"] for p in partners)
    assert sum(p["deleted"] for p in partners) > 3
    assert max(len(p["fields"]["name"]) for p in partners) == 5_000
    addresses = [p["email"] for p in partners if p["email"]]
    for oddity in (lambda a: a.endswith(" "), lambda a: "<" in a, lambda a: ";" in a, lambda a: '"' in a,
                   lambda a: a != a.lower(), lambda a: not a.isascii(), lambda a: "+" in a, lambda a: "@" not in a,
                   lambda a: normal(a) is None):
        assert any(map(oddity, addresses))
    rows = list(box.odoo.db.tables["mail.blacklist"].rows.values())
    assert {(r["active"], r["create_uid"]) for r in rows} >= {(True, 4), (True, 2), (True, 1), (False, 4)}
    assert len({r["email"] for r in rows}) == len(rows), "an address has one row"
    assert any("write_date" not in row for row in box.odoo.db.tables["res.partner"].rows.values())
    lists = box.odoo.db.tables["mailing.subscription"].rows.values()
    assert Counter((r["list_id"], bool(r.get("opt_out"))) for r in lists).keys() == set(
        itertools.product(range(1, 6), (False, True)))


def test_people_are_in_both_crms_and_spelled_differently(people: dict[str, list[dict[str, Any]]]) -> None:
    sides = {side: {normal(p["email"]): p["email"] for p in found
                    if p["object"] in ("Contact", "Lead", "res.partner") and normal(p["email"])}
             for side, found in people.items()}
    both = sides["salesforce"].keys() & sides["odoo"].keys()
    assert _share(len(both)) == pytest.approx(0.05, abs=0.03)
    assert any(sides["salesforce"][a] != sides["odoo"][a] for a in both)


def test_some_addresses_are_shared() -> None:
    humans = list(Population(7, SIZE, TODAY))
    held = Counter((h.local, h.domain) for h in humans if h.odd == "shared")
    assert _share(held.total()) == pytest.approx(0.057, abs=0.002)
    assert set(held.values()) == {2, 7}


def test_the_esp_knows_a_third_of_the_people_and_some_by_other_keys(box: Sandbox) -> None:
    tenant = box.marketing_cloud.tenant
    known = [s for s in tenant.subscribers.values() if not s.key.startswith("EXT-")]
    assert _share(len(known)) == pytest.approx(0.30, abs=0.03)
    other = [s for s in known if s.key.startswith("L") or "@" in s.key]
    assert _share(len(other), len(known)) == pytest.approx(0.33, abs=0.05)
    gone = [s for s in known if s.status in ("Unsubscribed", "Held")]
    assert _share(len(gone), len(known)) == pytest.approx(0.04, abs=0.02)
    assert {s.status for s in known} == {"Active", "Bounced", "Held", "Unsubscribed"}
    strangers = tenant.subscribers.keys() - {s.key.lower() for s in known}
    assert len(strangers) == SIZE // 10
    assert all(any(k in each.members for each in tenant.lists.values()) for k in strangers)
    crm = {row for table in ("Contact", "Lead") for row in box.salesforce.db.tables[table].rows}
    assert sum(s.key in crm for s in known) > 300
    assert any(s.units for s in known), "unsubscribed in one business unit only"


def test_each_vendor_would_have_taken_its_rows(box: Sandbox) -> None:
    """Odoo takes any text; the others refuse some, so a world that holds it could not be."""
    for s in box.marketing_cloud.tenant.subscribers.values():
        assert valid_email(s.email)
        assert len(s.email) < 100
    for name in ("Contact", "Lead"):
        fields = box.salesforce.schema[name].fields
        for row in box.salesforce.db.tables[name].rows.values():
            for field in ("Email", "FirstName", "LastName", "News_Status__c", "Academy_Status__c", "Persona__c"):
                assert salesforce_values.coerce(fields[field], row.get(field)) == row.get(field)


def test_the_worlds_references_lead_somewhere(box: Sandbox) -> None:
    for object_, field, target in (
            ("Contact", "AccountId", "Account"), ("OpportunityContactRole", "ContactId", "Contact"),
            ("OpportunityContactRole", "OpportunityId", "Opportunity"), ("CampaignMember", "CampaignId", "Campaign"),
            ("Lead", "ConvertedContactId", "Contact"), ("CampaignMember", "ContactId", "Contact")):
        there = box.salesforce.db.tables[target].rows
        given = [r[field] for r in box.salesforce.db.tables[object_].rows.values() if field in r]
        assert given
        assert set(given) <= there.keys()
