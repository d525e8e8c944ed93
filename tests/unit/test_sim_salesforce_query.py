"""The Salesforce simulator's queries: SOQL, order, pages, visibility, cost."""

from __future__ import annotations

import random
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sim.salesforce import ids, soql
from tests.unit.sim_salesforce_lab import START, Org

T0 = int(START) - 10_000


@pytest.fixture(scope="module")
def org() -> Org:
    """Contacts 0..9, one per second from T0; the two last share theirs."""
    org = Org(custom_fields={"Contact": {
        "Score__c": "double", "Persona__c": {"type": "multipicklist", "values": ["buyer", "fan", "press"]},
        "Since__c": "date", "Ext__c": {"type": "text", "external_id": True, "unique": True},
        "Sector__c": {"type": "string", "formula": "Account.Industry"}}})
    org.sim.load({"Account": [{"Id": ids.long_form("0015g00000000zz"), "Name": "Acme", "Industry": "Energy"}]})
    names = ["anna", "Bert", "Ćelik", "dora", "O'Neil", "fé", "gus", "HANS", "ida", "100%_x"]
    org.sim.load({"Contact": [
        {"LastName": name, "Email": f"{i}@example.test", "Score__c": i / 2 if i % 3 else None,
         "SystemModstamp": T0 + min(i, 8), "Persona__c": ["buyer;fan", "press", None][i % 3],
         "Since__c": f"2024-0{i % 9 + 1}-01", "HasOptedOutOfEmail": i == 4,
         "AccountId": ids.long_form("0015g00000000zz") if i < 2 else None} for i, name in enumerate(names)]})
    return org


def names(org: Org, where: str) -> list[str]:
    return [r["LastName"] for r in org.query(f"SELECT LastName FROM Contact WHERE {where} ORDER BY Id")]


@pytest.mark.parametrize(("where", "expected"), [
    ("LastName = 'BERT'", ["Bert"]),
    ("LastName LIKE 'h_n%'", ["HANS"]),
    ("LastName LIKE '100\\%\\_%'", ["100%_x"]),
    ("LastName = 'O\\'Neil'", ["O'Neil"]),
    ("LastName IN ('anna', 'gus') AND HasOptedOutOfEmail = false", ["anna", "gus"]),
    ("HasOptedOutOfEmail = TRUE", ["O'Neil"]),
    ("Score__c = null", ["anna", "dora", "gus", "100%_x"]),
    ("Score__c >= 3.5", ["HANS", "ida"]),
    ("Score__c != 0.5 AND Score__c < 2", ["Ćelik"]),
    ("NOT Score__c < 2 AND Score__c != null", ["O'Neil", "fé", "HANS", "ida"]),
    ("(LastName = 'anna' OR LastName = 'bert') AND NOT (Email = '0@example.test')", ["Bert"]),
    ("Persona__c INCLUDES ('buyer;fan')", ["anna", "dora", "gus", "100%_x"]),
    ("Persona__c INCLUDES ('buyer;press', 'press')", ["Bert", "O'Neil", "HANS"]),
    ("Persona__c EXCLUDES ('press') AND Persona__c != null", ["anna", "dora", "gus", "100%_x"]),
    ("Since__c > 2024-08-15", ["ida"]),
    ("Account.Name = 'acme'", ["anna", "Bert"]),
    ("Account.Name = null AND LastName LIKE 'd%'", ["dora"]),
    ("Sector__c = 'energy'", ["anna", "Bert"]),
    ("LastName NOT IN ('anna','bert','dora','gus','ida','hans') AND LastName != 'fé'", ["Ćelik", "O'Neil", "100%_x"]),
])
def test_conditions(org: Org, where: str, expected: list[str]) -> None:
    assert names(org, where) == expected


@pytest.mark.parametrize(("statement", "code", "part"), [
    ("SELECT Nope FROM Contact", "INVALID_FIELD", "No such column 'Nope' on entity 'Contact'"),
    ("SELECT Id FROM Nope", "INVALID_TYPE", "sObject type 'Nope'"),
    ("SELECT Boss.Name FROM Contact", "INVALID_FIELD", "relationship 'Boss'"),
    ("SELECT Id FROM Contact WHERE SystemModstamp > '2024-01-01T00:00:00Z'", "INVALID_FIELD",
     "dateTime and should not"),
    ("SELECT Id FROM Contact WHERE SystemModstamp > 2024-13-01T00:00:00Z", "MALFORMED_QUERY", "Invalid datetime"),
    ("SELECT Id FROM Contact WHERE SystemModstamp > 2024-01-01T00:00:00 00:00", "MALFORMED_QUERY", "Invalid datetime"),
    ("SELECT Id FROM Contact WHERE Since__c = 2024-02-30", "MALFORMED_QUERY", "Invalid date"),
    ("SELECT Id FROM Contact WHERE Since__c = 2024-02-01T00:00:00Z", "MALFORMED_QUERY", "type date"),
    ("SELECT Id FROM Contact WHERE LastName = 3", "INVALID_FIELD", "should be enclosed in quotes"),
    ("SELECT Id FROM Contact WHERE HasOptedOutOfEmail = 'true'", "INVALID_FIELD", "boolean"),
    ("SELECT Id FROM Contact WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field"),
    ("SELECT Id FROM Contact WHERE LastName = 'a' AND Email = 'b' OR Title = 'c'", "MALFORMED_QUERY", "parentheses"),
    ("SELECT Id FROM Contact WHERE LastName = 'a\\q'", "MALFORMED_QUERY", "Illegal character sequence"),
    ("SELECT Id, id FROM Contact", "MALFORMED_QUERY", "duplicate field"),
    ("SELECT Id FROM Contact GROUP BY Id", "MALFORMED_QUERY", "GROUP"),
    ("SELECT Id FROM Contact LIMIT x", "MALFORMED_QUERY", "whole number"),
    ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY", "<EOF>"),
    ("SELECT Id FROM Contact WHERE Persona__c LIKE", "MALFORMED_QUERY", "<EOF>"),
    ("SELECT Id FROM Contact OFFSET 2001", "MALFORMED_QUERY", "2000"),
    ("SELECT Id FROM ContactHistory WHERE OldValue = 'x'", "INVALID_FIELD", "can not be filtered"),
])
def test_refusals(org: Org, statement: str, code: str, part: str) -> None:
    found, message = org.refusal(statement)
    assert (found, part in message) == (code, True), message


def test_values_come_back_as_the_wire_has_them(org: Org) -> None:
    row = org.query("SELECT id, systemmodstamp, Name, Score__c, Account.Name, account.Owner.Name, IsEmailBounced "
                    "FROM Contact ORDER BY SystemModstamp, Id LIMIT 2")[1]
    assert row["attributes"] == {"type": "Contact", "url": f"/services/data/v60.0/sobjects/Contact/{row['Id']}"}
    assert row["SystemModstamp"].endswith(".000+0000")
    assert row["Score__c"] == 0.5
    assert row["IsEmailBounced"] is False
    assert (row["Account"]["Name"], row["Account"]["Owner"]["Name"]) == ("Acme", "Admin")
    assert row["Account"]["attributes"]["type"] == "Account"
    orphan = org.query("SELECT Account.Name FROM Contact WHERE LastName = 'ida'")[0]
    assert orphan["Account"] is None


def test_sorting_puts_nulls_first_and_ignores_case(org: Org) -> None:
    rows = org.query("SELECT LastName, Score__c FROM Contact ORDER BY Score__c DESC NULLS LAST, LastName")
    assert [r["Score__c"] for r in rows[:3]] == [4.0, 3.5, 2.5]
    assert [r["LastName"] for r in rows[6:]] == ["100%_x", "anna", "dora", "gus"]
    rows = org.query("SELECT Score__c FROM Contact ORDER BY Score__c")
    assert [r["Score__c"] for r in rows[:5]] == [None, None, None, None, 0.5]
    last = org.query("SELECT LastName FROM Contact ORDER BY SystemModstamp DESC, Id DESC LIMIT 1")
    assert last[0]["LastName"] == "100%_x"
    assert org.ids("SELECT Id FROM Contact ORDER BY Id LIMIT 3 OFFSET 2") == org.ids("SELECT Id FROM Contact")[2:5]


@pytest.mark.parametrize(("op", "expected"), [
    ("=", [4]), ("<", [0, 1, 2, 3]), ("<=", [0, 1, 2, 3, 4]), (">", [5, 6, 7, 8, 9]), (">=", [4, 5, 6, 7, 8, 9]),
    ("!=", [0, 1, 2, 3, 5, 6, 7, 8, 9]),
])
def test_the_stamps_index_keeps_both_ends(org: Org, op: str, expected: list[int]) -> None:
    at = _literal(org, "SystemModstamp", 4)
    for order in ("SystemModstamp, Id", "LastName"):
        rows = org.query(f"SELECT Email FROM Contact WHERE SystemModstamp {op} {at} ORDER BY {order}")
        assert sorted(int(r["Email"][0]) for r in rows) == expected


_FIELDS = ("SystemModstamp", "Id", "LastName")


def _literal(org: Org, field: str, pick: int) -> str:
    row = org.query("SELECT Id, LastName, SystemModstamp FROM Contact ORDER BY Id")[pick]
    if field == "SystemModstamp":
        return str(row[field]).replace(".000+0000", "Z")
    text = str(row[field]).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


@settings(max_examples=60, deadline=None)
@given(st.recursive(
    st.tuples(st.sampled_from(_FIELDS), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(0, 9)),
    lambda inner: st.tuples(st.sampled_from(["AND", "OR", "NOT"]), inner, inner), max_leaves=6))
def test_indexes_never_change_an_answer(org: Org, tree: Any) -> None:
    """The planner's intervals and look-ups give what a scan of all rows gives."""
    def text(node: Any) -> str:
        if node[0] in ("AND", "OR"):
            return f"({text(node[1])} {node[0]} {text(node[2])})"
        if node[0] == "NOT":
            return f"(NOT {text(node[1])})"
        return f"{node[0]} {node[1]} {_literal(org, node[0], node[2])}"
    where = text(tree)
    for order in ("SystemModstamp, Id", "Id", "SystemModstamp DESC", "LastName"):
        found = org.ids(f"SELECT Id FROM Contact WHERE {where} ORDER BY {order}")
        test = org.sim.engine.predicate("Contact", soql.parse_condition(where))
        assert sorted(found) == sorted(r["Id"] for r in org.sim.db.tables["Contact"].rows.values() if test(r))


def test_ties_of_any_size_are_read_whole_by_keyset() -> None:
    org = Org()
    org.sim.load({"Contact": [{"LastName": f"n{i}", "SystemModstamp": T0 + i // 3000} for i in range(7000)]})
    found: list[str] = []
    where = "SystemModstamp >= 2020-01-01T00:00:00Z"
    while True:
        rows = org.query(f"SELECT Id, SystemModstamp FROM Contact WHERE {where} ORDER BY SystemModstamp, Id LIMIT 700")
        if not rows:
            break
        found += [r["Id"] for r in rows]
        stamp = rows[-1]["SystemModstamp"].replace("+0000", "Z")
        where = f"((SystemModstamp = {stamp} AND Id > '{rows[-1]['Id']}') OR SystemModstamp > {stamp})"
    assert len(found) == len(set(found)) == 7000


def test_pages_are_irregular_and_complete() -> None:
    org = Org()
    org.sim.load({"Contact": [{"LastName": f"n{i}"} for i in range(5000)]})
    path = "/query?q=" + urllib.parse.quote("SELECT Id FROM Contact")
    page = org.get(path, sforce_query_options="batchSize=500")
    sizes, found = [], []
    while True:
        assert page["totalSize"] == 5000
        sizes.append(len(page["records"]))
        found += [r["Id"] for r in page["records"]]
        if page["done"]:
            break
        page = org.get(page["nextRecordsUrl"], sforce_query_options="batchSize=500")
    assert len(set(found)) == 5000
    assert max(sizes) <= 500
    assert len(set(sizes)) > 3


def test_locators_die() -> None:
    org = Org(max_cursors=2)
    org.sim.load({"Contact": [{"LastName": f"n{i}"} for i in range(3000)]})
    path = "/query?q=" + urllib.parse.quote("SELECT Id FROM Contact")
    first, second, third = (org.get(path)["nextRecordsUrl"] for _ in range(3))
    assert org.call("GET", first).body[0]["errorCode"] == "INVALID_QUERY_LOCATOR"
    assert org.call("GET", second).status == 200
    org.kernel.clock.advance(2 * 86400 + 1)
    org.login()
    assert org.call("GET", third).body[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_a_page_shows_the_rows_as_they_were_when_the_query_ran() -> None:
    org = Org()
    org.sim.load({"Contact": [{"LastName": f"n{i}", "Title": "old"} for i in range(3000)]})
    page = org.get("/query?q=" + urllib.parse.quote("SELECT Id, Title FROM Contact"))
    org.act("mass_edit", object="Contact", where={"Title": "old"}, set={"Title": "new"})
    rest = org.get(page["nextRecordsUrl"])
    assert {r["Title"] for r in rest["records"]} == {"old"}
    counted = org.get("/query?q=" + urllib.parse.quote("SELECT COUNT() FROM Contact WHERE Title = 'new'"))
    assert (counted["totalSize"], counted["records"]) == (3000, [])


def test_a_late_commit_shows_with_an_early_stamp() -> None:
    org = Org(commit_delay=60.0)
    record = org.create("Contact", LastName="Slow", Title="before")
    org.kernel.clock.advance(100)
    org.act("edit", object="Contact", id=record, set={"Title": "after"})
    stamped = org.sim.db.tables["Contact"].rows[record]["SystemModstamp"]
    new = org.act("create", object="Contact", set={"LastName": "New"})["id"]
    query = "SELECT Id, Title FROM Contact ORDER BY SystemModstamp, Id"
    assert [(r["Id"], r["Title"]) for r in org.query(query)] == [(record, "before")]
    assert [p["id"] for p in org.sim.world()["people"]] == [record]
    org.kernel.clock.advance(30)
    later = org.create("Contact", LastName="Later")
    org.kernel.clock.advance(31)
    assert org.ids(query) == [record, new, later]
    assert org.sim.db.tables["Contact"].rows[record]["SystemModstamp"] == stamped < int(org.kernel.clock.now()) - 30


def test_a_formula_and_a_parent_change_without_a_stamp() -> None:
    org = Org(custom_fields={"Contact": {"Sector__c": {"type": "string", "formula": "Account.Industry"}}})
    account = org.create("Account", Name="A", Industry="Retail")
    contact = org.create("Contact", LastName="C", AccountId=account)
    before = org.get(f"/sobjects/Contact/{contact}?fields=SystemModstamp,Sector__c")
    org.kernel.clock.advance(50)
    org.act("edit", object="Account", id=account, set={"Industry": "Banking"})
    after = org.get(f"/sobjects/Contact/{contact}?fields=SystemModstamp,Sector__c")
    assert (before["Sector__c"], after["Sector__c"]) == ("Retail", "Banking")
    assert before["SystemModstamp"] == after["SystemModstamp"]


def test_a_platform_job_moves_stamps_and_nothing_else() -> None:
    org = Org()
    contact = org.create("Contact", LastName="C")
    before = org.get(f"/sobjects/Contact/{contact}")
    org.kernel.clock.advance(50)
    assert org.sim.touch("Contact") == 1
    after = org.get(f"/sobjects/Contact/{contact}")
    assert after.pop("SystemModstamp") > before.pop("SystemModstamp")
    assert after == before


def test_reading_a_page_does_not_cost_the_table() -> None:
    """Rows looked at per page stay near the page's size when the query follows an index."""
    org = Org()
    org.sim.load({"Contact": [{"LastName": "x", "SystemModstamp": T0 + i // 50} for i in range(50_000)]})
    seen = 0
    table = org.sim.db.tables["Contact"]
    plain = table.by_stamp

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        for row in plain(*args, **kwargs):
            seen += 1
            yield row
    table.by_stamp = counting  # type: ignore[method-assign]  # counts what the engine reads
    pick = random.Random(5).choice(list(table.rows.values()))
    stamp = org.query(f"SELECT SystemModstamp FROM Contact WHERE Id = '{pick['Id']}'")[0]["SystemModstamp"]
    where = (f"SystemModstamp < 2100-01-01T00:00:00Z AND ((SystemModstamp = {stamp} AND Id > '{pick['Id']}') "
             f"OR SystemModstamp > {stamp})")
    rows = org.query(f"SELECT Id FROM Contact WHERE {where} ORDER BY SystemModstamp, Id LIMIT 200")
    assert len(rows) <= 200
    assert seen <= 260
