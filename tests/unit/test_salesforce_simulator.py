"""The connector against the simulated organisation: two readings of one set of facts, by different hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.errors import ConnectorError, Misconfigured, Outage, Retry, Throttled
from syncd.model import Batch, Field, Op, Page, StreamSpec, Value
from tests.unit.salesforce_org import Org, id18

SPEC = StreamSpec("Contact", fields=(
    Field("Email"), Field("HasOptedOutOfEmail", "bool"), Field("Offers_Opt_In__c", "bool"), Field("Account.Name"),
    Field("CreatedDate", "instant")))
HISTORY = StreamSpec("Contact", "history", (Field("HasOptedOutOfEmail", "bool"),))


@pytest.fixture
def org() -> Iterator[Callable[..., Org]]:
    made: list[Org] = []

    def make(*args: Any, **options: Any) -> Org:
        made.append(Org(*args, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()


Make = Callable[..., Org]


def rows(pages: list[Page]) -> dict[Value, tuple[Value, ...]]:
    return {row[0]: row for page in pages for row in page.rows}


def truth(org: Org) -> dict[str, tuple[str, int]]:
    return {p["id"]: (p["email"], int(p["opted_out"])) for p in org.sim.world(None, None)["people"]
            if p["object"] == "Contact" and not p["deleted"]}


@pytest.mark.parametrize("settings", [{}, {"page_size": 7}, {"bulk_threshold": 5, "bulk_page": 11}])
@pytest.mark.parametrize("header", [True, False])
def test_a_backfill_is_the_truth(org: Make, settings: dict[str, Any], header: bool) -> None:
    o = org(bulk_header_every_page=header, bulk_seconds=3.0)
    pages = list(o.connect(**settings).changes(SPEC, None))
    found = rows(pages)
    assert {i: (row[4], row[5]) for i, row in found.items()} == truth(o)
    assert [(p.last, p.complete) for p in pages] == [(False, False)] * (len(pages) - 1) + [(True, True)]
    assert found[id18(o, 1)][7] == "Company 2"
    assert found[id18(o, 5)][7] is None


def test_a_formula_is_described_as_computed_also_where_it_is_a_parents(org: Make) -> None:
    o = org(1, custom_fields={"Contact": {"Sector__c": {"type": "string", "formula": "Account.Industry"}},
                              "Account": {"Region__c": {"type": "string", "formula": "Parent.Industry"}}})
    fields = {f.name: f for f in o.connect().describe(["Contact"]).objects["Contact"].fields}
    assert {name for name, f in fields.items() if f.computed} == {
        "Sector__c", "ReportsTo.Sector__c", "Account.Region__c"}


def test_rest_and_bulk_agree(org: Make) -> None:
    o = org()
    rest, bulk = o.connect().changes(SPEC, None), o.connect(bulk_threshold=5).changes(SPEC, None)
    assert rows(list(rest)) == rows(list(bulk))


def test_a_day_in_the_life_of_contacts(org: Make) -> None:
    o = org()
    c = o.connect(page_size=8)
    cursor = list(c.changes(SPEC, None))[-1].cursor
    o.kernel.clock.advance(1000)
    edited, deleted, loser, winner = (id18(o, n) for n in (3, 4, 5, 6))
    o.user("edit", id=edited, set={"HasOptedOutOfEmail": True})
    o.user("delete", id=deleted)
    o.user("merge", id=loser, into=winner)
    found = rows(list(c.changes(SPEC, cursor)))
    assert {edited, deleted, loser} <= found.keys() <= {edited, deleted, loser, winner}
    assert found[edited][5] == 1
    assert found[deleted][2:4] == (1, None)
    assert found[loser][2:4] == (1, winner)
    assert rows([c.fetch(SPEC, [edited, deleted, loser, id18(o, 9), "0035g00000zzzzz"])]).keys() == {
        edited, deleted, loser, id18(o, 9)}
    o.user("undelete", id=deleted)
    assert rows([c.fetch(SPEC, [deleted])])[deleted][2] == 0
    listed = list(c.changes(StreamSpec("Contact", ids_only=True), None))
    assert rows(listed).keys() == truth(o).keys()
    assert listed[-1].complete


def test_a_converted_lead_names_its_contact(org: Make) -> None:
    o = org()
    made = o.sim.act({"actor": "crm_user", "do": "create", "object": "Lead",
                      "set": {"LastName": "L", "Company": "C", "Email": "l@x.example", "HasOptedOutOfEmail": True}})
    lead = made["id"]
    c = o.connect()
    spec = StreamSpec("Lead", fields=(
        Field("Email"), Field("HasOptedOutOfEmail", "bool"), Field("IsConverted", "bool")))
    cursor = list(c.changes(spec, None))[-1].cursor
    o.sim.act({"actor": "crm_user", "do": "convert", "object": "Lead", "id": lead})
    row = rows(list(c.changes(spec, cursor)))[lead]
    assert row[2] == 0
    assert str(row[3]).startswith("003")
    assert row[4:] == ("l@x.example", 1, 1)
    [outcome] = c.apply(Batch("update", "Lead", ("HasOptedOutOfEmail",), [Op(1, lead, None, (0,))]))
    assert outcome.state == "rejected"
    assert str(outcome.reason).startswith("CANNOT_UPDATE_CONVERTED_LEAD")


def test_history_tells_who_did_it(org: Make) -> None:
    o = org()
    c = o.connect()
    assert StreamSpec("Contact", "history") in c.feeds([])
    cursor = list(c.changes(HISTORY, None))[-1].cursor
    mine, theirs = id18(o, 1), id18(o, 2)
    c.apply(Batch("update", "Contact", ("HasOptedOutOfEmail",), [Op(1, mine, None, (1,))]))
    o.user("edit", id=theirs, set={"HasOptedOutOfEmail": True, "Email": "new@x.example"})
    o.kernel.clock.advance(5)
    o.user("edit", id=theirs, set={"HasOptedOutOfEmail": False})
    found = [row for page in c.changes(HISTORY, cursor) for row in page.rows]
    assert sorted((r[0], r[1], r[2], r[3], r[5]) for r in found) == sorted([
        (mine, "HasOptedOutOfEmail", 0, 1, "self"), (theirs, "HasOptedOutOfEmail", 0, 1, "user"),
        (theirs, "HasOptedOutOfEmail", 1, 0, "user")])
    every = [row for page in c.changes(StreamSpec("Contact", "history"), None) for row in page.rows]
    assert (theirs, "Email", "u2@x.example", "new@x.example") in {r[:4] for r in every}
    assert {r[0] for r in c.fetch(HISTORY, [mine]).rows} == {mine}


def test_rows_committed_late_are_found(org: Make) -> None:
    o = org()
    c = o.connect()
    cursor = list(c.changes(SPEC, None))[-1].cursor
    o.kernel.clock.advance(600)
    o.sim.options.commit_delay = 120.0
    late = id18(o, 7)
    o.user("edit", id=late, set={"HasOptedOutOfEmail": True})
    o.kernel.clock.advance(60)
    pages = list(c.changes(SPEC, cursor))
    assert late not in rows(pages)
    o.kernel.clock.advance(90)
    assert rows(list(c.changes(SPEC, pages[-1].cursor)))[late][5] == 1


@pytest.mark.parametrize("fault", ["token_expired", "truncated_page"])
@pytest.mark.parametrize("settings", [{"page_size": 7}, {"bulk_threshold": 5, "bulk_page": 11}])
def test_faults_that_heal_lose_nothing(org: Make, fault: str, settings: dict[str, Any]) -> None:
    o = org()
    c = o.connect(**settings)
    pages = c.changes(SPEC, None)
    found = [next(pages)]
    o.fault(fault, count=1, route="/query" if "page_size" in settings else "/jobs")
    found += pages
    assert {i: (row[4], row[5]) for i, row in rows(found).items()} == truth(o)
    assert found[-1].complete


@pytest.mark.parametrize(("fault", "error"), [("reset_before", Retry), ("http_500", Outage), ("http_429", Throttled)])
@pytest.mark.parametrize("settings", [{"page_size": 7}, {"bulk_threshold": 5, "bulk_page": 11}])
def test_faults_that_stop_a_reading_are_resumed_from_the_last_cursor(
        org: Make, fault: str, error: type[ConnectorError], settings: dict[str, Any]) -> None:
    o = org()
    c = o.connect(**settings)
    found: list[Page] = []
    errors: list[ConnectorError] = []
    while not (found and found[-1].last) and len(errors) < 40:
        try:
            for page in c.changes(SPEC, found[-1].cursor if found else None):
                found.append(page)
                o.fault(fault, count=1, route="/services/data")  # the next call fails, and none after it
        except error as caught:
            errors.append(caught)
    assert len(errors) == len(found) - 1 > 3
    assert not any("@" in f"{e} {e.detail}" for e in errors)
    assert {i: (row[4], row[5]) for i, row in rows(found).items()} == truth(o)


def test_writes(org: Make) -> None:
    o = org(validation_rules=[{"object": "Contact", "when": "LastName = 'N9'", "message": "anna@x.example no"}])
    c = o.connect()
    good, locked, invalid = id18(o, 1), id18(o, 2), id18(o, 9)
    o.sim.writer.locked.add(locked)
    gone = id18(o, 4)
    o.user("delete", id=gone)
    ops = [Op(n, key, None, (1,)) for n, key in enumerate((good, locked, invalid, gone, "0035g00000zzzzzAAA"))]
    outcomes = c.apply(Batch("update", "Contact", ("HasOptedOutOfEmail",), ops))
    assert [x.state for x in outcomes] == ["done", "retry", "rejected", "rejected", "rejected"]
    assert not any("@" in str(x) for x in outcomes)
    assert truth(o)[good][1] == 1
    assert truth(o)[invalid][1] == 0
    again = c.apply(Batch("update", "Contact", ("HasOptedOutOfEmail",), ops[:1]))
    assert [x.state for x in again] == ["done"]
    assert truth(o)[good][1] == 1


def test_a_lost_reply_is_unknown_and_can_be_read_back(org: Make) -> None:
    o = org()
    c = o.connect()
    c.check()
    target = id18(o, 1)
    o.fault("reset_after", count=1, route="composite")
    [outcome] = c.apply(Batch("update", "Contact", ("HasOptedOutOfEmail",), [Op(1, target, None, (1,))]))
    assert outcome.state == "unknown"
    assert c.fetch(SPEC, [target]).rows[0][5] == 1


def test_duplicate_rules_do_not_stop_an_opt_out(org: Make) -> None:
    o = org(duplicate_rules=[{"object": "Contact", "fields": ["LastName"], "on": ["create", "update"]}])
    o.user("edit", id=id18(o, 1), set={"LastName": "Same"})
    target = id18(o, 2)
    c = o.connect()
    batch = Batch("update", "Contact", ("LastName", "HasOptedOutOfEmail"), [Op(1, target, None, ("Same", 1))])
    assert [x.state for x in c.apply(batch)] == ["done"]


def test_a_hidden_flag_is_an_error_not_a_false(org: Make) -> None:
    o = org(hidden_fields={"Contact": ["HasOptedOutOfEmail"]})
    c = o.connect()
    assert not c.check().ok
    described = c.describe(["Contact", "Nope__c"]).objects
    assert described.keys() == {"Contact"}
    # The flag is still wanted, so that reading fails clearly; that it cannot be read shows in the fields.
    assert described["Contact"].master_flag == "HasOptedOutOfEmail"
    assert "HasOptedOutOfEmail" not in {f.name for f in described["Contact"].fields}
    with pytest.raises(Misconfigured, match="HasOptedOutOfEmail"):
        list(c.changes(SPEC, None))


def test_a_field_that_vanishes_in_mid_walk_is_an_error(org: Make) -> None:
    o = org()
    pages = o.connect(page_size=7).changes(SPEC, None)
    next(pages)
    o.fault("drop_field", object="Contact", field="Offers_Opt_In__c")
    with pytest.raises(Misconfigured, match="Offers_Opt_In__c"):
        list(pages)


def test_the_orgs_daily_limit(org: Make) -> None:
    o = org(daily_requests=30)
    c = o.connect(api_share=0.5, opt_out_reserve=0.3)
    target = id18(o, 1)

    def poll() -> None:
        for _ in range(30):
            c.fetch(SPEC, [target])
    with pytest.raises(Throttled):
        poll()
    assert [x.state for x in c.apply(Batch("update", "Contact", ("HasOptedOutOfEmail",), [
        Op(1, target, None, (1,))]))] == ["done"]


def test_a_healthy_org(org: Make) -> None:
    o = org()
    c = o.connect()
    health = c.check()
    assert health.ok
    assert any("Connect is installed" in f.message and f.level == "info" for f in health.findings)
    assert health.quota["DailyApiRequests"][1] == 100_000
    assert c.server_skew is not None
    catalogue = c.describe()
    assert {"Contact", "Lead", "Account", "Opportunity", "CampaignMember"} <= catalogue.objects.keys()
    by_name = {f.name: f for f in catalogue.objects["Contact"].fields}
    assert by_name["Account.Name"].type == "text"
    assert by_name["Offers_Opt_In__c"].type == "bool"


@pytest.mark.parametrize("parents", [0, 1])
def test_a_poll_without_changes_costs_one_call_and_one_for_each_parent(org: Make, parents: int) -> None:
    o = org()
    c = o.connect()
    spec = StreamSpec("Contact", fields=SPEC.fields if parents else SPEC.fields[:3])
    cursor = list(c.changes(spec, None))[-1].cursor
    before = c.counter.calls
    for _ in range(5):
        o.kernel.clock.advance(30)
        [page] = c.changes(spec, cursor)
        cursor = page.cursor
    assert c.counter.calls - before == 5 * (1 + parents)


@pytest.mark.parametrize("settings", [{}, {"page_size": 3}])
def test_a_renamed_company_is_read_at_its_contacts(org: Make, settings: dict[str, Any]) -> None:
    o = org()
    c = o.connect(**settings)
    cursor = list(c.changes(SPEC, None))[-1].cursor
    o.kernel.clock.advance(1000)
    company = "0015g0000000002"
    o.sim.act({"actor": "crm_user", "do": "edit", "object": "Account", "id": company, "set": {"Name": "Renamed"}})
    gone = id18(o, 1)  # she works there, too
    o.user("delete", id=gone)
    pages = list(c.changes(SPEC, cursor))
    found = rows(pages)
    theirs = {i for i, row in rows([c.fetch(SPEC, list(truth(o)))]).items() if row[7] == "Renamed"}
    assert len(theirs) == 15
    assert found.keys() == theirs | {gone}
    assert {found[i][7] for i in theirs} == {"Renamed"}
    assert [p.last for p in pages] == [False] * (len(pages) - 1) + [True]
    assert not any(p.complete for p in pages)
    cursor = pages[-1].cursor
    for _ in range(2):  # the next reading reaches back over the last one
        o.kernel.clock.advance(1000)
        pages = list(c.changes(SPEC, cursor))
        cursor = pages[-1].cursor
    assert not rows(pages)


def test_an_individual_who_objects_is_read_at_its_contacts(org: Make) -> None:
    o = org(data_protection=True)
    o.sim.load({"Individual": [{"Id": "0PK5g0000000001", "LastName": "N7"}]})
    contact = id18(o, 7)
    o.user("edit", id=contact, set={"IndividualId": "0PK5g0000000001"})
    flag = "Individual.HasOptedOutSolicit"
    c, spec = o.connect(), StreamSpec("Contact", fields=(Field("Email"), Field(flag, "bool")))
    assert {f.name: f.type for f in c.describe(["Contact"]).objects["Contact"].fields}[flag] == "bool"
    o.kernel.clock.advance(3600)
    pages = list(c.changes(spec, None))
    assert rows(pages)[contact][5] == 0
    assert rows(pages)[id18(o, 8)][5] is None
    o.kernel.clock.advance(3600)
    o.user("edit", object="Individual", id="0PK5g0000000001", set={"HasOptedOutSolicit": True})
    o.kernel.clock.advance(600)
    assert rows(list(c.changes(spec, pages[-1].cursor)))[contact][5] == 1
