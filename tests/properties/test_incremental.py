"""Incremental equals from scratch: after any edits, looking at everybody again changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.memory.sides.table import BadCall
from mappings.functions import clock_parameters
from state import attributes, people, relations
from syncd.app import App
from tests.soaking import FACTOR
from tests.system.lab import DAY, MAPPING, NEWS, OFFERS, Lab

RULES = """
attributes:
  generous: {type: bool, origin: implicit, value: "spent > 50"}
  late: {type: bool, origin: implicit, value: "vip_until < today('Europe/Berlin')"}
segments:
  rich: {topic: offers, where: "generous and vip_until >= today('Europe/Berlin')"}
  top: {topic: offers, order_by: "spent desc", limit: 3, expected_churn: 100%}
"""
TEXT = MAPPING[:MAPPING.index("segments:")] + RULES.lstrip() + MAPPING[MAPPING.index("\ndestinations:"):]
NAMES = [f"p{n}" for n in range(7)]
ADDRESSES = ["p0@mail.example", "P1@mail.example ", "p2@mail.example", "odd", None]

EDITS: st.SearchStrategy[tuple[str, str, dict[str, Any]]] = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(NAMES), st.fixed_dictionaries({}, optional={
        "email": st.sampled_from(ADDRESSES), "spent": st.sampled_from(["10.00", "60.00", "99.99", None]),
        "first_name": st.sampled_from(["Ann", "Eve", None]), "opted_out": st.sampled_from([0, 1]),
        "offers": st.sampled_from([0, 1]), "no_news": st.sampled_from([0, 1]),
        "vip_until": st.sampled_from(["2025-06-15", "2025-06-16", "2025-06-20", None])})),
    st.tuples(st.sampled_from(["delete", "undelete", "unsubscribe", "back"]), st.sampled_from(NAMES), st.just({})),
    st.tuples(st.just("merge"), st.sampled_from(NAMES), st.fixed_dictionaries({"into": st.sampled_from(NAMES)})),
    st.tuples(st.just("time"), st.just(""), st.just({})))

SNAPSHOTS = {
    "attributes": "SELECT * FROM attr ORDER BY person",
    "decisions": "SELECT * FROM decision WHERE person IN (SELECT person FROM record) ORDER BY person",
    "people": "SELECT id, person FROM record ORDER BY id",
    "doubts": "SELECT person, reason FROM ambiguous ORDER BY person",
    "keys": "SELECT * FROM subscriber_key ORDER BY connection, person, until",
    "wishes": "SELECT object, kind, class, person, record, key, address, columns, payload, before, permit FROM operation"
              " WHERE state < 3 ORDER BY object, person, record, kind",
}


def act(lab: Lab, do: str, name: str, values: dict[str, Any]) -> None:
    """One edit; what makes no sense right now (editing a deleted record) does not happen."""
    try:
        if do == "time":
            lab.advance(DAY / 2)
        elif do == "edit":
            lab.edit(name, **values)
        elif do == "unsubscribe":
            lab.world.act("mc", "unsubscribe", email=f"{name}@mail.example", list="L2")
        elif do == "back":
            lab.web_opt_in(name)
        elif do == "merge" and name != values["into"]:
            lab.world.act("sf", "merge", object="Contact", id=lab.ids[name], into=lab.ids[values["into"]])
        elif do != "merge":
            lab.world.act("sf", do, object="Contact", id=lab.ids[name])
    except BadCall:
        pass


def snapshot(app: App) -> dict[str, list[tuple[Any, ...]]]:
    return {name: app.store.rows(sql) for name, sql in SNAPSHOTS.items()}


def everybody_again(conn: Any) -> None:
    conn.execute("INSERT OR IGNORE INTO dirty SELECT DISTINCT person FROM record")
    conn.execute("INSERT OR IGNORE INTO dirty_record SELECT id FROM record")


INHERITED: list[list[tuple[str, str, dict[str, Any]]]] = [
    [("edit", "p2", {"email": "p0@mail.example", "offers": 0, "vip_until": "2025-06-15", "no_news": 0}),
     ("edit", "p0", {"email": None, "spent": "10.00", "vip_until": "2025-06-15", "no_news": 0})],
    [("delete", "p0", {})]]
"""The subscriber under p0's key has the address that p2 holds now: once p0 is gone, p2's refusals are carried to it."""


@pytest.mark.parametrize("policy", ["one_person", "separate"])
@example(rounds=INHERITED)
@settings(max_examples=12 * FACTOR, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=st.lists(st.lists(EDITS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_looking_at_everybody_again_changes_nothing(tmp_path_factory: pytest.TempPathFactory, policy: str,
                                                    rounds: list[list[tuple[str, str, dict[str, Any]]]]) -> None:
    with Lab(tmp_path_factory.mktemp("incremental"), TEXT.replace("one_person", policy)) as lab:
        for n, name in enumerate(NAMES):
            lab.contact(name, spent=f"{n * 20}.00", vip_until="2025-06-16" if n % 2 else None)
        lab.link()
        for number, edits in enumerate(rounds):
            for do, name, values in edits:
                act(lab, do, name, values)
            lab.cycle(deliver=number == 0)
            found = snapshot(lab.app)
            lab.app.store.write(everybody_again)
            lab.cycle(deliver=False)
            again = snapshot(lab.app)
            for part in SNAPSHOTS:
                assert again[part] == found[part], part
            paths_agree(lab)
        lab.entries()


def paths_agree(lab: Lab) -> None:
    """The straight join for people of one record gives what the general way gives."""
    compiled = lab.app.compiled
    assert compiled is not None
    rel, bound = compiled.relations, clock_parameters(lab.now(), compiled.zones)

    def job(conn: Any) -> None:
        everybody_again(conn)
        people.take(conn, rel)
        found = []
        for general in (False, True):
            if general:
                conn.execute("UPDATE chunk SET live = 2 WHERE live = 1")
            conn.execute("DELETE FROM attr")
            attributes.rebuild(conn, rel, bound)
            people.due(conn, rel, bound)
            found.append(conn.execute("SELECT * FROM attr ORDER BY person").fetchall())
        assert found[0] == found[1]
        conn.execute("DELETE FROM dirty")
        conn.execute("DELETE FROM dirty_record")
    lab.app.store.write(job)


def test_a_state_made_from_scratch_has_the_same_attributes(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Lab(tmp_path_factory.mktemp("scratch"), TEXT) as lab:
        lab.contacts(20, spent="70.00")
        lab.link()
        for n in range(8):
            lab.edit(f"p{n}", spent=f"{n}.00", email=f"p{n % 3}@mail.example", first_name="Same")
            lab.cycle()
        query = ('SELECT r.rid, ad.email, a."first_name", a."spent", a."generous", a."late" FROM attr a JOIN record r'
                 " ON r.id = a.record JOIN address ad ON ad.id = a.address ORDER BY r.rid")
        found = lab.rows(query)
        lab.app.close()
        for name in ("state.db", "journal.log"):   # a journal would say that a state was lost
            (lab.directory / name).unlink()
        lab.app = lab.open()
        lab.cycle(deliver=False)
        assert lab.rows(query) == found
        assert len(found) == 15
        assert lab.keys(OFFERS) | lab.keys(NEWS)


def test_every_statement_about_some_people_begins_with_those_people(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No full scan of anything that grows with the number of people or with time, in any transaction that writes."""
    growing = {
        "record", "attr", "decision", "address", "entry", "operation", "remote_status", "subscriber_key", "batch",
        "event_seen", "quarantine"}
    with Lab(tmp_path_factory.mktemp("plans"), TEXT) as lab:
        lab.contacts(40)
        lab.link()
        statements: list[str] = []
        lab.app.store.write(lambda conn: conn.set_trace_callback(statements.append))
        lab.edit("p1", first_name="Other", email="p2@mail.example")
        lab.unsubscribe("p3")
        lab.contact("new")
        lab.world.act("sf", "delete", object="Contact", id=lab.ids["p4"])
        lab.advance(DAY / 2)
        lab.settle()
        lab.cycle(full=True)
        lab.app.store.write(lambda conn: conn.set_trace_callback(None))
        compiled = lab.app.compiled
        assert compiled is not None
        growing |= {*relations.ddl(compiled.relations)}
        scans = lab.app.store.write(lambda conn: list(scanned(conn, statements, growing)))
        assert len(statements) > 100
        assert scans == []
        seen = lab.app.store.write(lambda conn: list(scanned(conn, ["SELECT sum(address) FROM attr"], growing)))
        assert [table for table, _ in seen] == ["attr"], "a scan is not seen as one"


def scanned(conn: Any, statements: list[str], growing: set[str]) -> Any:
    """(table, statement) of every scan of a growing table that is not by a partial index of what is open or due."""
    for sql in dict.fromkeys("\n".join(line for line in s.splitlines() if not line.startswith("--")) for s in statements):
        if sql.split(maxsplit=1)[0] not in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            continue
        alias = {a: t for t in growing for a in aliases(sql, t)}
        for *_, detail in conn.execute("EXPLAIN QUERY PLAN " + sql):
            words = str(detail).split(" ")
            if words[0] == "SCAN" and words[1] in alias and not any(
                    f"INDEX {index}" in str(detail) for index in ("operation_", "quarantine_open")):
                yield alias[words[1]], sql


def aliases(sql: str, table: str) -> set[str]:
    """The names under which a statement knows a table."""
    words = sql.replace("(", " ( ").replace(")", " ) ").split()
    named = [words[i + 1:i + 3] for i, word in enumerate(words[:-1]) if word == table]
    return {table} | {rest[1] if rest[0] == "AS" and len(rest) == 2 else rest[0] for rest in named if rest[0].isidentifier()}
