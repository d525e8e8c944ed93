"""Each hash is one address, wherever it is kept, whoever brings it and however often."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state import addresses
from state.queries import load
from tests.unit.state_lab import HASHED, StateLab, contact

PEOPLE = st.lists(st.integers(0, 30), max_size=12)
STEPS = st.lists(st.tuples(st.sampled_from(["contacts", "page", "one", "settle"]), PEOPLE), max_size=12)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def bring(lab: StateLab, how: str, numbers: list[int]) -> None:
    """Some addresses come, as records or otherwise, or those that gathered move on."""
    emails = [f"p{n}@mail.example" for n in numbers]

    def page(conn: Any) -> None:
        conn.execute("CREATE TEMP TABLE IF NOT EXISTS some_page (n INTEGER PRIMARY KEY, hash BLOB, email TEXT,"
                     " address INTEGER)")
        conn.execute("DELETE FROM some_page")
        conn.executemany("INSERT INTO some_page (hash, email) VALUES (?, ?)", [(HASHED(e), e) for e in emails])
        addresses.resolve(conn, "some_page")
        found = conn.execute("SELECT p.email, a.email FROM some_page p LEFT JOIN address a ON a.id = p.address").fetchall()
        assert all(mine == theirs for mine, theirs in found)
    if how == "contacts":
        # Later numbers take over the records of earlier ones.
        lab.put(*(contact(i, email=email) for i, email in enumerate(emails)))
    elif how == "page":
        lab.store.write(page)
    elif how == "one":
        for email in emails:
            assert lab.store.write(lambda conn, e=email: addresses.known(conn, HASHED(e), e)) is not None  # type: ignore[misc]
    else:
        while lab.store.write(lambda conn: addresses.settle(conn, len(numbers))):
            pass


def found_by(lab: StateLab) -> list[tuple[bytes, int]]:
    """Hashes and addresses as the connection that writes finds them."""
    return sorted(lab.store.write(lambda conn: conn.execute("SELECT hash, address FROM address_of").fetchall()))


@given(steps=STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_one_address_for_each_hash(lab: StateLab, steps: list[tuple[str, list[int]]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(addresses, "MOVE", 3)
        for how, numbers in steps:
            bring(lab, how, numbers)
    kept = sorted(lab.rows("SELECT hash, id FROM address"))
    assert len({hash_ for hash_, _ in kept}) == len(kept)
    assert found_by(lab) == kept
    assert sorted(set(lab.rows("SELECT hash, address FROM address_of"))) == kept, "on a connection that only reads"
    emails = dict(lab.rows("SELECT r.rid, a.email FROM record r JOIN address a ON a.id = r.address"))
    for rid, email in lab.rows(f"SELECT r.rid, x.email FROM record r JOIN rec_{lab.stream} x ON x.record = r.id"):
        assert emails[rid] == email


def test_few_stay_where_they_gather_and_many_move_on_in_parts(lab: StateLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MOVE", 4)

    def counts() -> tuple[int, int]:
        sql = "SELECT (SELECT count(*) FROM address_new), (SELECT count(*) FROM address_key)"
        found = lab.store.write(lambda conn: conn.execute(sql).fetchone())
        return found[0], found[1]
    lab.put(*(contact(n) for n in range(10)))
    assert not lab.store.write(lambda conn: addresses.settle(conn, 10))
    assert counts() == (10, 0)
    assert lab.store.write(lambda conn: addresses.settle(conn, 9))
    assert counts() == (6, 4)
    assert lab.store.write(lambda conn: addresses.settle(conn, 0))
    assert not lab.store.write(lambda conn: addresses.settle(conn, 0))
    assert counts() == (0, 10)


@pytest.mark.parametrize("moved", [0, 1, 2, 3], ids=["none moved", "some moved", "more moved", "all moved"])
def test_what_gathered_is_found_again_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int) -> None:
    monkeypatch.setattr(addresses, "MOVE", 4)
    lab = StateLab(tmp_path)
    lab.put(contact(0))
    while lab.store.write(lambda conn: addresses.settle(conn, 0)):
        pass
    lab.put(*(contact(n) for n in range(10)))
    for _ in range(moved):
        lab.store.write(lambda conn: addresses.settle(conn, 0))
    kept = sorted(lab.rows("SELECT hash, id FROM address"))
    lab.close()
    lab = StateLab(tmp_path)
    assert found_by(lab) == kept
    lab.put(*(contact(n) for n in range(12)))
    assert len(lab.rows("SELECT 1 FROM address")) == 12
    lab.close()


def test_an_address_known_by_its_hash_alone_is_written_when_a_record_brings_it(lab: StateLab) -> None:
    known = lab.store.write(lambda conn: addresses.known(conn, HASHED("c1@mail.example")))
    lab.store.write(lambda conn: addresses.settle(conn, 0))
    lab.put(contact(1), contact(2))
    assert lab.rows("SELECT id, email FROM address WHERE id = ?", known) == [(known, "c1@mail.example")]


def test_who_is_forgotten_is_not_spelled_by_a_provider(lab: StateLab) -> None:
    known = lab.store.write(lambda conn: addresses.known(conn, HASHED("p1@mail.example")))
    lab.store.write(lambda conn: conn.execute("UPDATE address SET forgotten = 1 WHERE id = ?", (known,)).rowcount)

    def page(conn: Any) -> None:
        conn.execute("CREATE TEMP TABLE a_page (n INTEGER PRIMARY KEY, hash BLOB, email TEXT, address INTEGER)")
        conn.executemany("INSERT INTO a_page (hash, email) VALUES (?, ?)",
                         [(HASHED(e), e) for e in ("p1@mail.example", "p2@mail.example")])
        addresses.resolve(conn, "a_page")
    lab.store.write(page)
    assert lab.rows("SELECT email FROM address ORDER BY id") == [(None,), ("p2@mail.example",)]


def test_no_query_looks_for_a_hash_where_there_is_no_index() -> None:
    """``address`` itself has none: what looks there reads everybody."""
    for step in (f.name.removesuffix(".sql") for f in (files("state") / "sql").iterdir() if f.name.endswith(".sql")):
        for name, sql in (load(step) if step != "schema" else {}).items():
            assert not re.search(r"\baddress (\w )?WHERE (\w\.)?hash\b|\ba\.hash =", sql), f"{step}.{name}"
