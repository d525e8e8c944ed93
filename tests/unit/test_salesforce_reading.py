"""No row is lost: walks and Bulk backfills against a wire that breaks off in every way, at every place."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import CursorLost, Misconfigured, Outage, Retry
from connectors.salesforce.records.reading import Cursor
from connectors.salesforce.records.source import Position, id_source, record_source
from connectors.salesforce.wire.calls import QueryJob
from connectors.salesforce.wire.values import soql_instant
from syncd.model import StreamSpec
from tests.unit.salesforce_lab import FIELDS, NOW, SPEC, Event, FakeWire, contacts, everything, ids, reader, sid

# --------------------------------------------------------------------------- walks

def test_rows_have_the_streams_columns() -> None:
    wire = FakeWire(contacts(NOW - 500))
    [page] = everything(reader(wire))
    assert page.rows == [(sid(0), (NOW - 500) * 1_000_000, 0, None, "u0@x.example")]
    assert page.last
    assert page.complete
    assert len(page.rows[0]) == len(SPEC.columns)


def test_an_empty_object_still_gives_a_last_page() -> None:
    [page] = everything(reader(FakeWire({})))
    assert (page.rows, page.last, page.complete) == ([], True, True)
    assert Cursor.parse(page.cursor) == Cursor(NOW - 10)


def test_next_walk_reaches_back_by_lag_and_overlap() -> None:
    wire = FakeWire(contacts(NOW - 500))
    read = reader(wire)
    cursor = everything(read)[-1].cursor
    wire.now += 3600
    # A transaction that began before the first walk shows its row only now, under its old time.
    wire.rows[sid(1)] = (NOW - 69, "late@x.example")
    pages = everything(read, cursor)
    assert ids(pages) == [sid(1)]
    assert not pages[-1].complete
    assert Cursor.parse(pages[-1].cursor) == Cursor(NOW + 3590)


def test_ties_larger_than_a_page_survive_cut_pages() -> None:
    wire = FakeWire(contacts(*[NOW - 500] * 23), faults=iter([None, "cut", None, "cut", None]))
    assert ids(everything(reader(wire))) == [sid(i) for i in range(23)]
    assert f"(SystemModstamp = {soql_instant(NOW - 500)} AND Id > '{sid(4)}')" in wire.queries[1]


@pytest.mark.parametrize("size", [1, 4, 5, 20])
def test_pages_as_large_as_the_limit(size: int) -> None:
    """Whether more follows cannot be told from a full page."""
    wire = FakeWire(contacts(*range(NOW - 500, NOW - 480)), page=100)
    pages = everything(reader(wire, page_size=size))
    assert ids(pages) == [sid(i) for i in range(20)]
    assert [p.last for p in pages] == [False] * (len(pages) - 1) + [True]
    assert len(wire.queries) == 20 // size + 1


def test_a_walk_abandoned_after_any_page_goes_on_there() -> None:
    wire = FakeWire(contacts(*range(NOW - 500, NOW - 470)))
    read = reader(wire)
    cursor, seen = None, []
    for _ in range(20):
        page = next(iter(read.changes(record_source(SPEC, FIELDS), cursor)))
        seen += ids([page])
        cursor = page.cursor
        if page.last:
            break
    else:
        pytest.fail("no end")
    assert set(seen) == set(wire.rows)


def test_a_resumed_walk_also_reads_what_came_since() -> None:
    """Otherwise ``last`` would claim that yesterday's end is today's."""
    wire = FakeWire(contacts(*range(NOW - 500, NOW - 480)))
    read = reader(wire)
    first = next(iter(read.changes(record_source(SPEC, FIELDS), None)))
    wire.now += 86_400
    wire.rows[sid(900)] = (NOW + 80_000, "new@x.example")
    pages = everything(read, first.cursor)
    assert set(ids(pages)) == set(wire.rows) - set(ids([first]))
    assert Cursor.parse(pages[-1].cursor).hi == NOW + 86_390


def test_a_resumed_walk_keeps_the_checkpoint_of_its_start() -> None:
    """A row committed late, while the process was down, under a time before the walk's position."""
    wire = FakeWire(contacts(*range(NOW - 14, NOW)), page=10)
    read = reader(wire)
    first = next(iter(read.changes(record_source(SPEC, FIELDS), None)))
    wire.now += 86_400
    wire.rows[sid(900)] = (NOW - 12, "late@x.example")
    assert sid(900) in ids(everything(read, first.cursor))


def test_slow_queries_are_halved() -> None:
    wire = FakeWire(contacts(*range(NOW - 600, NOW - 400)), page=50, slow_above=20)
    pages = everything(reader(wire))
    assert ids(pages) == [sid(i) for i in range(200)]
    assert [p.last for p in pages].count(True) == 1
    assert any(" < " in q for q in wire.queries)


def test_a_second_too_slow_to_read_is_told() -> None:
    wire = FakeWire(contacts(*[NOW - 500] * 100), page=50, slow_above=-1)
    with pytest.raises(Retry) as caught:
        everything(reader(wire))
    assert caught.value.code == "QUERY_TIMEOUT"


class Deaf(FakeWire):
    """A server that ignores the position."""

    def query(self, soql: str, *, deleted: bool, names: Collection[str] = (),
              urgent: bool = False) -> Iterator[tuple[list[Any], bool]]:
        return super().query("SELECT x FROM Contact ORDER BY System", deleted=deleted)


@pytest.mark.parametrize("rows", [contacts(*[NOW - 500] * 9), contacts(*range(NOW - 509, NOW - 500))])
def test_a_query_that_does_not_advance_ends(rows: dict[str, tuple[int, str]]) -> None:
    with pytest.raises(Outage):
        everything(reader(Deaf(rows)))


def test_pages_that_are_always_cut_are_told() -> None:
    wire = FakeWire(contacts(NOW - 500), faults=itertools.repeat("cut"))
    with pytest.raises(Retry, match="breaking off"):
        everything(reader(wire))
    assert len(wire.queries) == 3


@settings(max_examples=150, deadline=None)
@given(
    stamps=st.lists(st.integers(NOW - 130, NOW + 5), max_size=40),
    faults=st.lists(st.sampled_from([None, None, None, "cut"]), max_size=30),
    stops=st.lists(st.integers(1, 4), max_size=6),
    edits=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 60)), max_size=6),
    page=st.integers(1, 9), size=st.integers(1, 9),
)
def test_no_schedule_of_faults_stops_and_edits_loses_a_change(
        stamps: list[int], faults: list[Event], stops: list[int], edits: list[tuple[int, int]], page: int,
        size: int) -> None:
    """The store holds the last version read of each row. In the end it equals Salesforce, although rows moved during
    the walk, appeared late, locators died, pages were cut and the process ended after some pages."""
    wire = FakeWire(contacts(*stamps), page=page, faults=iter(faults))
    read = reader(wire, page_size=size)
    store: dict[Any, Any] = {}
    cursor: str | None = None
    changes = iter(edits)
    for most in [*stops, 10**6]:
        try:
            for number, got in enumerate(read.changes(record_source(SPEC, FIELDS), cursor), 1):
                store.update({row[0]: row[4] for row in got.rows})
                cursor = got.cursor
                edit = next(changes, None)
                if edit is not None:  # committed up to a minute late, the overlap of these options
                    wire.rows[sid(edit[0])] = (wire.now - edit[1], f"edited{number}-{edit[1]}@x.example")
                wire.now += 7
                if number >= most:
                    break
        except Retry:
            continue
    wire.faults = iter(())
    for got in read.changes(record_source(SPEC, FIELDS), cursor):
        store.update({row[0]: row[4] for row in got.rows})
    assert store == {i: email for i, (_, email) in wire.rows.items()}


# --------------------------------------------------------------------------- Bulk

@pytest.mark.parametrize("header", [False, True])
def test_backfill_by_bulk(header: bool) -> None:
    wire = FakeWire(contacts(*range(NOW - 9000, NOW - 8970)), header_on_every_page=header)
    pages = everything(reader(wire, bulk_threshold=10))
    assert set(ids(pages)) == set(wire.rows)
    assert [p.last for p in pages].count(True) == 1
    assert pages[-1].complete
    assert "ORDER BY" not in wire.queries[0]
    assert Cursor.parse(pages[-1].cursor) == Cursor(NOW - 10)
    assert "ORDER BY" in wire.queries[1]  # what changed while the job ran


def test_bulk_and_rest_give_equal_rows() -> None:
    wire = FakeWire(contacts(*range(NOW - 9000, NOW - 8980)))
    bulk, rest = everything(reader(wire, bulk_threshold=10)), everything(reader(wire))
    assert sorted(r for p in bulk for r in p.rows) == sorted(r for p in rest for r in p.rows)


def test_a_bulk_job_is_found_again_from_any_page() -> None:
    wire = FakeWire(contacts(*range(NOW - 9000, NOW - 8970)))
    read = reader(wire, bulk_threshold=10)
    pages = everything(read)
    for number, page in enumerate(pages[:-1]):
        rest = everything(read, page.cursor)
        assert set(ids(pages[:number + 1])) | set(ids(rest)) == set(wire.rows)
        assert not rest[-1].complete
    assert len(wire.jobs) == 1


def test_a_resumed_bulk_job_keeps_the_checkpoint_of_its_start() -> None:
    wire = FakeWire(contacts(*range(NOW - 9000, NOW - 8970)))
    read = reader(wire, bulk_threshold=10)
    first = next(iter(read.changes(record_source(SPEC, FIELDS), None)))
    wire.now += 86_400
    wire.rows[sid(900)] = (NOW + 5, "changed while the job ran@x.example")
    assert sid(900) in ids(everything(read, first.cursor))


def test_an_expired_bulk_job_is_made_anew() -> None:
    wire = FakeWire(contacts(*range(NOW - 9000, NOW - 8970)))
    read = reader(wire, bulk_threshold=10)
    first, second = itertools.islice(read.changes(record_source(SPEC, FIELDS), None), 2)
    assert first.rows == []
    assert len(second.rows) == 7
    wire.jobs.clear()
    assert set(ids(everything(read, second.cursor))) == set(wire.rows)


def test_cut_bulk_results_are_read_again() -> None:
    wire = FakeWire(contacts(*range(NOW - 9000, NOW - 8970)), faults=iter([None, "cut", None, None, None]))
    pages = everything(reader(wire, bulk_threshold=10))
    assert set(ids(pages)) == set(wire.rows)
    assert len(wire.jobs) == 2
    wire.faults = itertools.repeat("cut")
    with pytest.raises(Retry):
        everything(reader(wire, bulk_threshold=10))


class States(FakeWire):
    """A job that goes through states; the last one stays."""

    states = ("UploadComplete", "InProgress", "JobComplete")
    code = ""

    def job(self, job: str) -> QueryJob:
        self.asked = getattr(self, "asked", 0) + 1
        return QueryJob(self.states[min(self.asked, len(self.states)) - 1], len(self.rows), self.code)


def test_waits_for_a_job_with_growing_pauses() -> None:
    wire = States(contacts(*[NOW - 9000] * 12))
    wire.states = ("UploadComplete",) * 6 + ("JobComplete",)
    pauses: list[float] = []
    read = reader(wire, bulk_threshold=10, bulk_poll=1.0)
    read._sleep = pauses.append
    assert len(ids(everything(read))) == 12
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.25
    assert pauses[-1] == 1.0


@pytest.mark.parametrize(("states", "code", "error"), [
    (("Failed",), "INVALID_FIELD", Misconfigured), (("Failed",), "", Outage), (("Aborted",), "", Retry),
    (("InProgress",), "", Outage)])
def test_jobs_that_do_not_end_well(states: tuple[str, ...], code: str, error: type[Exception]) -> None:
    wire = States(contacts(*[NOW - 9000] * 12))
    wire.states, wire.code = states, code
    with pytest.raises(error):
        everything(reader(wire, bulk_threshold=10, bulk_timeout=30.0))


# --------------------------------------------------------------------------- listings and cursors

@pytest.mark.parametrize("threshold", [3, 10**9])
def test_listing_of_ids(threshold: int) -> None:
    wire = FakeWire(contacts(*range(NOW - 9000, NOW - 8970)), faults=iter([None, "cut"]))
    pages = list(reader(wire, bulk_threshold=threshold).listing(id_source(StreamSpec("Contact", ids_only=True))))
    assert set(ids(pages)) == set(wire.rows)
    assert [(p.last, p.complete) for p in pages if p.last or p.complete] == [(True, True)]
    assert pages[-1].last
    assert {len(row) for p in pages for row in p.rows} == {1}


@pytest.mark.parametrize("cursor", [Cursor(5), Cursor(5, Position(4, sid(1))), Cursor(5, Position(0, "")),
                                    Cursor(5, None, "750xx", ""), Cursor(5, None, "750xx", "loc"),
                                    Cursor(5, kin=3), Cursor(5, Position(4, sid(1)), kin=0, via=(4, 1, sid(2)))])
def test_cursors_survive_their_text(cursor: Cursor) -> None:
    assert Cursor.parse(cursor.text()) == cursor
    assert len(cursor.text()) < 4096


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"v":2,"hi":1}', '{"v":1}', '{"v":1,"hi":"x"}',
                                  '{"v":1,"hi":1,"at":[1]}', "null", '{"v":1,"hi":1,"at":3}',
                                  '{"v":1,"hi":1,"via":[1]}', '{"v":1,"hi":1,"kin":"x"}'])
def test_foreign_cursors_are_lost(text: str) -> None:
    with pytest.raises(CursorLost):
        everything(reader(FakeWire({})), text)
