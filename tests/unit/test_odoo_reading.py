"""Reading Odoo: everything that could be missed, and everything that must not be mistaken for absence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from connectors.errors import CursorLost, Misconfigured
from syncd.model import Field, StreamSpec
from tests.unit.odoo_lab import Lab, odoo

PEOPLE = StreamSpec("res.partner", fields=(Field("name"), Field("email")))
IDS = StreamSpec("res.partner", ids_only=True)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with odoo() as lab:
        yield lab


def load(lab: Lab, count: int, **values: object) -> None:
    """Partners 1 … count, all written in one transaction, just now."""
    lab.sim.load({"res.partner": [{"id": i, "name": f"P {i}", "email": f"p{i}@x.test", **values}
                                  for i in range(1, count + 1)]})


def load_old(lab: Lab, count: int) -> None:
    load(lab, count)
    lab.quiet()


# --------------------------------------------------------------------------- changes

def test_a_cycle_without_changes_costs_one_call(lab: Lab) -> None:
    load_old(lab, 10)
    cursor = lab.read(PEOPLE)[1]
    lab.calls()
    assert lab.read(PEOPLE, cursor)[0] == []
    assert lab.calls() == {"res.partner.search_read": 1}


def test_a_tie_larger_than_a_page_is_read_whole(lab: Lab) -> None:
    lab.sim.load({"res.partner": [{"id": 999, "name": "Old", "write_date": "2020-01-01 00:00:00"}]})
    cursor = lab.read(PEOPLE)[1]
    lab.quiet()
    load(lab, 30)
    assert [r["name"] for r in lab.read(PEOPLE, cursor)[0]] == [f"P {i}" for i in range(1, 31)]


def test_a_commit_later_than_its_stamp_is_found(lab: Lab) -> None:
    cursor = lab.read(PEOPLE)[1]
    lab.act("crm_user", "create", object="res.partner", set={"name": "Late"}, delay=200)
    lab.quiet(100)
    lab.act("crm_user", "create", object="res.partner", set={"name": "Early"})
    rows, cursor, _ = lab.read(PEOPLE, cursor)
    assert [r["name"] for r in rows] == ["Early"]
    lab.quiet(150)
    assert "Late" in {r["name"] for r in lab.read(PEOPLE, cursor)[0]}


def test_changes_behind_a_listing_are_in_the_same_call(lab: Lab) -> None:
    load_old(lab, 12)
    pages = lab.connector.changes(PEOPLE, None)
    seen = [next(pages)]
    lab.act("crm_user", "edit", object="res.partner", id="1", set={"name": "Changed"})
    seen += pages
    rows = lab.rows(PEOPLE, seen)
    assert [r["name"] for r in rows if r["id"] == "1"] == ["P 1", "Changed"]
    assert seen[-1].complete


def test_a_row_without_write_date_is_found_once_it_is_there(lab: Lab) -> None:
    load(lab, 3)
    cursor = lab.read(PEOPLE)[1]
    for name, wait in (("A", 10), ("B", 400), ("C", 400)):
        lab.quiet(wait)
        lab.sim.load({"res.partner": [{"name": name, "write_date": None}]})
        rows, cursor, _ = lab.read(PEOPLE, cursor)
        assert name in {r["name"] for r in rows}
    for _ in range(2):
        lab.quiet(400)
        rows, cursor, _ = lab.read(PEOPLE, cursor)
    assert rows == [], "what is known is not read for ever"


def test_resuming_after_any_page(lab: Lab) -> None:
    load_old(lab, 11)
    count = len(list(lab.connector.changes(PEOPLE, None)))
    for stop in range(1, count + 1):
        begun = list(itertools.islice(lab.connector.changes(PEOPLE, None), stop))
        rest = list(lab.connector.changes(PEOPLE, begun[-1].cursor))
        assert {r["id"] for r in lab.rows(PEOPLE, [*begun, *rest])} == {str(i) for i in range(1, 12)}


@pytest.mark.parametrize("cursor", ["", "x", "[]", '{"v":1}', '{"v":2,"stream":"res.partner","since":1}',
                                    '{"v":1,"stream":"res.partner","since":"x","begun":0,"last":0,"nulls":0,"known":0,'
                                    '"at":0,"top":0}'])
def test_a_strange_cursor_is_lost(lab: Lab, cursor: str) -> None:
    with pytest.raises(CursorLost):
        lab.read(PEOPLE, cursor)


def test_a_cursor_of_another_stream_is_lost(lab: Lab) -> None:
    cursor = lab.read(PEOPLE)[1]
    with pytest.raises(CursorLost):
        lab.read(StreamSpec("crm.lead", fields=(Field("name"),)), cursor)


# --------------------------------------------------------------------------- what is not absence

def test_archived_records_and_archived_tags_are_still_there(lab: Lab) -> None:
    tags = [{"id": 1, "name": "VIP"}, {"id": 2, "name": "Old; gone", "active": False}]
    lab.load(res_partner_category=tags,
             res_partner=[{"id": 1, "name": "A", "active": False, "category_id": [1, 2]}])
    spec = StreamSpec("res.partner", fields=(Field("active", "bool"), Field("category_id", "choices")))
    [row] = lab.read(spec)[0]
    assert (row["active"], row["deleted"], row["category_id"]) == (0, 0, ";Old, gone;VIP;")


def test_a_cut_page_neither_ends_a_listing_nor_makes_it_complete(lab: Lab) -> None:
    load_old(lab, 20)
    for spec in (PEOPLE, IDS):
        lab.fault("truncated_page", object="res.partner", count=1)
        rows, _, complete = lab.read(spec)
        assert max(int(str(r["id"])) for r in rows) == 20
        assert complete is (len({r["id"] for r in rows}) == 20)
    lab.sim.kernel.faults.clear()
    assert lab.read(PEOPLE)[2]
    assert lab.read(IDS)[2]


def test_an_emptied_search_is_not_a_complete_listing(lab: Lab) -> None:
    load_old(lab, 5)
    for spec in (PEOPLE, IDS):
        lab.fault("empty_list", object="res.partner", count=1)
        rows, _, complete = lab.read(spec)
        assert (rows, complete) == ([], False)


def test_a_listing_after_losing_rights_is_not_complete(lab: Lab) -> None:
    lab.sim.load({"crm.lead": [{"id": 1, "name": "Mine", "user_id": 8}, {"id": 2, "name": "Theirs", "user_id": 2}]})
    leads = StreamSpec("crm.lead", ids_only=True)
    rows, cursor, complete = lab.read(leads)
    assert ([r["id"] for r in rows], complete) == (["1", "2"], True)
    user = lab.sim.access.users[8]
    before, user.groups = user.groups, frozenset({"sale_own", "mailing_user"})
    lab.sim.load({"res.users": lab.sim.access.rows()["res.users"]})
    rows, cursor, complete = lab.read(leads, cursor)
    assert ([r["id"] for r in rows], complete) == (["1"], False)
    rows, cursor, complete = lab.read(leads, cursor)
    assert not complete, "the loss is remembered"
    user.groups = before | {"partner_manager"}
    lab.sim.load({"res.users": lab.sim.access.rows()["res.users"]})
    assert lab.read(leads, cursor)[2]


def test_a_company_taken_away_while_listing(lab: Lab) -> None:
    load(lab, 9)
    pages = lab.connector.changes(PEOPLE, None)
    seen = [next(pages)]
    lab.sim.load({"res.company": [{"id": 2, "name": "Second"}]})
    lab.sim.access.users[8].companies = (2,)
    lab.sim.load({"res.users": lab.sim.access.rows()["res.users"]})
    assert not [*seen, *pages][-1].complete


# --------------------------------------------------------------------------- values

def test_values_take_the_shapes_of_the_model(lab: Lab) -> None:
    lab.load(crm_lead=[{
        "id": 1, "name": "L", "email_from": "", "expected_revenue": 1234.5, "date_deadline": "2026-02-03",
        "date_closed": "2026-01-01 00:00:01", "type": "lead", "stage_id": 4, "probability": 33.0}, {"id": 2}])
    fields = (Field("name"), Field("email_from"), Field("expected_revenue", "decimal"), Field("date_deadline", "date"),
              Field("date_closed", "instant"), Field("type"), Field("stage_id", "id"), Field("stage_id.name"),
              Field("stage_id.is_won", "bool"), Field("message_bounce", "integer"), Field("probability"))
    first, second = lab.read(StreamSpec("crm.lead", fields=fields))[0]
    del first["modified"]
    assert list(first.values())[3:] == ["L", None, "1234.5", "2026-02-03", 1767225601000000, "lead", "4", "Won", 1, 0,
                                        "33"]
    assert [second[f.name] for f in fields[:9]] == [None, None, "0", None, None, None, None, None, None]


def test_parents_of_parents_and_their_changes(lab: Lab) -> None:
    lab.load(res_partner=[{"id": 1, "name": "Co", "is_company": True, "country_id": 20},
                          {"id": 2, "name": "P", "parent_id": 1}, {"id": 3, "name": "Q"}])
    spec = StreamSpec("res.partner", fields=(Field("parent_id.name"), Field("parent_id.country_id.code")))
    rows, cursor, _ = lab.read(spec)
    assert {r["id"]: (r["parent_id.name"], r["parent_id.country_id.code"]) for r in rows} == {
        "1": (None, None), "2": ("Co", "BE"), "3": (None, None)}
    # A country's change does not touch the partners below it.
    lab.sim.load({"res.country": [{"id": 20, "name": "Belgium", "code": "BX"}]})
    rows, cursor, _ = lab.read(spec, cursor)
    assert {r["id"]: r["parent_id.country_id.code"] for r in rows} == {"2": "BX"}


def test_a_hidden_parent_is_an_error_and_not_a_blank(lab: Lab) -> None:
    lab.sim.load({"res.company": [{"id": 2, "name": "Second"}], "res.partner": [
        {"id": 1, "name": "Hidden Co", "company_id": 2}, {"id": 2, "name": "P", "parent_id": 1}]})
    with pytest.raises(Misconfigured, match=r"res\.partner\.parent_id") as caught:
        lab.read(StreamSpec("res.partner", fields=(Field("parent_id.name"),)))
    assert "Hidden Co" not in str(caught.value)


def test_a_field_that_vanishes_is_an_error_and_not_a_blank(lab: Lab) -> None:
    load(lab, 2)
    cursor = lab.read(PEOPLE)[1]
    lab.fault("drop_field", object="res.partner", field="email")
    with pytest.raises(Misconfigured):
        lab.read(PEOPLE, cursor)
    assert "email" not in {f.name for f in lab.connector.describe(["res.partner"]).objects["res.partner"].fields}
    with pytest.raises(Misconfigured, match="'email'"):
        lab.read(PEOPLE, cursor)


def test_a_field_that_vanished_since_it_was_described_is_an_error_from_cold_too(lab: Lab) -> None:
    """Another process believes the description; the call itself tells."""
    load(lab, 2)
    cursor = lab.read(PEOPLE)[1]
    notes = lab.connector.learnt()
    lab.fault("drop_field", object="res.partner", field="email")
    lab.connector.recall("")
    lab.connector.recall(notes)
    with pytest.raises(Misconfigured):
        lab.read(PEOPLE, cursor)


def test_fetch_passes_over_what_is_hidden_missing_or_no_id(lab: Lab) -> None:
    load(lab, 6)
    lab.sim.load({"res.company": [{"id": 2, "name": "Second"}],
                  "res.partner": [{"id": 50, "name": "Hidden", "company_id": 2}]})
    page = lab.connector.fetch(PEOPLE, ["3", "50", "999", "x", "99999999999", "²", "1"])
    assert [row[0] for row in page.rows] == ["1", "3"]


def test_describe_leaves_out_what_cannot_be_read(lab: Lab) -> None:
    lab.sim.access.users[8].groups = frozenset({"user"})
    found = lab.connector.describe(["res.partner", "crm.lead", "mailing.contact", "no.such.model", "list:7"]).objects
    assert set(found) == {"res.partner"}
    fields = {f.name: f for f in found["res.partner"].fields}
    assert (fields["type"].choices[:2], fields["category_id"].type) == (("contact", "invoice"), "choices")
    assert (fields["is_blacklisted"].writable, fields["name"].writable) == (False, True)
    assert (fields["is_blacklisted"].computed, fields["name"].computed) == (True, False)
    assert "child_ids" not in fields


def test_describe_names_the_lists(lab: Lab) -> None:
    found = lab.connector.describe().objects
    assert (found["list:7"].label, found["list:7"].properties["active"]) == ("offers", True)
    assert {"res.partner", "crm.lead", "mailing.contact"} <= set(found)
