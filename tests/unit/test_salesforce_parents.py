"""What a row shows of its parent does not grow old: children of changed parents are read, whatever breaks off."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import Retry
from connectors.salesforce.records.reading import Cursor, Reader
from connectors.salesforce.records.source import record_source
from connectors.salesforce.wire.describe import Described, parents_of
from connectors.salesforce.wire.values import micros, soql_instant
from syncd.model import Field, Page, StreamSpec
from tests.unit.salesforce_lab import FIELDS, NOW, FakeWire, contacts, ids, reader, sid

COMPANY = StreamSpec("Contact", fields=(Field("Email"), Field("Account.Name"), Field("Account.Owner.Name")))


class Family(FakeWire):
    """Contacts whose addresses are their companies' names; a company is ``number % 3``, and its owner the same person."""

    moved: dict[str, dict[int, int]]  # relationship -> company -> when it changed
    slow = False

    def query(self, soql: str, *, deleted: bool, names: Collection[str] = (),
              urgent: bool = False) -> Iterator[tuple[list[Any], bool]]:
        asked = re.search(r"(\S+)\.SystemModstamp >= (\S+)(?: AND Id > '(\w+)')? ORDER BY Id LIMIT (\d+)$", soql)
        if asked is None:
            found = list(super().query(soql, deleted=deleted))
        else:
            self.queries.append(soql)
            if self.slow:
                raise Retry("slow", code="QUERY_TIMEOUT")
            assert not deleted
            since = micros(asked[2]) // 1_000_000
            these = [i for n, i in enumerate(sorted(self.rows)) if self.moved[asked[1]].get(n % 3, 0) >= since
                     and i > (asked[3] or "")][:int(asked[4])]
            found = [([{"Id": i, "SystemModstamp": soql_instant(self.rows[i][0]).replace("Z", ".000+0000"),
                        "IsDeleted": False, "MasterRecordId": None} for i in these], True)]
        for records, done in found:
            for r in records:
                name = f"C{[self.moved[p].get(sorted(self.rows).index(r['Id']) % 3, 0) for p in sorted(self.moved)]}"
                r["Email"], r["Account"] = name, {"Name": name, "Owner": {"Name": name}}
            yield records, done


def family(count: int = 20) -> Family:
    wire = Family(contacts(*[NOW - 9000] * count), page=100)
    wire.moved = {"Account": dict.fromkeys(range(3), NOW - 9000), "Account.Owner": {}}
    return wire


def kin(read: Reader, cursor: str | None) -> Iterator[Page]:
    return read.changes(record_source(COMPANY, FIELDS, ("Account", "Account.Owner")), cursor)


def test_the_first_reading_asks_for_no_parents() -> None:
    wire = family()
    [page] = kin(reader(wire), None)
    assert (page.last, page.complete) == (True, True)
    assert not any("Account.SystemModstamp" in q for q in wire.queries)


@pytest.mark.parametrize("relation", ["Account", "Account.Owner"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_children_of_a_changed_parent_are_read_once(relation: str, size: int) -> None:
    wire = family()
    read = reader(wire, page_size=size)
    cursor = list(kin(read, None))[-1].cursor
    wire.now += 3600
    wire.moved[relation][1] = wire.now - 600
    pages = list(kin(read, cursor))
    assert sorted(ids(pages)) == sorted(wire.rows)[1::3]
    assert [p.last for p in pages] == [False] * (len(pages) - 1) + [True]
    assert Cursor.parse(pages[-1].cursor) == Cursor(wire.now - 10)
    wire.now += 3600
    assert not ids(list(kin(read, pages[-1].cursor)))


def test_a_parent_that_changed_while_the_first_reading_went_on_is_found() -> None:
    wire = family()
    read = reader(wire, page_size=4)
    pages = kin(read, None)
    cursor = next(pages).cursor
    wire.now += 600
    wire.moved["Account"][0] = wire.now
    assert {r[0] for p in kin(read, cursor) for r in p.rows} >= set(sorted(wire.rows)[0::3])


def test_children_too_slow_to_find_do_not_keep_the_rest_waiting() -> None:
    wire = family()
    read = reader(wire)
    cursor = list(kin(read, None))[-1].cursor
    wire.now += 3600
    wire.moved["Account"][1] = wire.now - 600
    wire.rows[sid(2)] = (wire.now - 600, "")
    wire.slow = True
    pages = list(kin(read, cursor))
    assert ids(pages) == [sid(2)]
    assert pages[-1].last
    assert read.stale == {"Contact"}
    wire.now += 86_400
    wire.slow = False
    assert set(ids(list(kin(read, pages[-1].cursor)))) == set(sorted(wire.rows)[1::3])
    assert not read.stale


@settings(max_examples=80, deadline=None)
@given(stops=st.lists(st.integers(1, 5), max_size=6), size=st.integers(1, 7),
       edits=st.lists(st.tuples(st.sampled_from(["Account", "Account.Owner"]), st.integers(0, 2), st.integers(0, 60)),
                      max_size=8))
def test_no_schedule_of_stops_leaves_a_childs_copy_old(stops: list[int], size: int,
                                                       edits: list[tuple[str, int, int]]) -> None:
    """Parents change, some seen late, while the process is ended after any page."""
    wire = family()
    read = reader(wire, page_size=size)
    store = {row[0]: row[5] for page in kin(read, None) for row in page.rows}
    cursor = list(kin(read, None))[-1].cursor
    changes = iter(edits)
    for most in [*stops, 10**6]:
        wire.now += 100
        for number, got in enumerate(kin(read, cursor), 1):
            store.update({row[0]: row[5] for row in got.rows})
            cursor = got.cursor
            edit = next(changes, None)
            if edit is not None:
                wire.moved[edit[0]][edit[1]] = wire.now - edit[2]
            wire.now += 7
            if number >= most:
                break
    for _ in range(2):
        for got in kin(read, cursor):
            store.update({row[0]: row[5] for row in got.rows})
            cursor = got.cursor
    source = record_source(COMPANY, FIELDS)
    assert store == {row[0]: row[5] for row in read.rows(source, "Id != ''")}


def test_only_ways_that_lead_to_one_object_are_followed() -> None:
    def described(name: str, **parents: str) -> Described:
        return Described(name, name, None, True, True, {}, tuple(parents.items()))
    objects = {"Contact": described("Contact", Account="Account"), "Account": described("Account", Owner="User")}
    names = ("Email", "Account.Name", "Account.Owner.Name", "Account.Owner.Manager.Name", "Owner.Name", "Account.Industry")
    assert parents_of(objects["Contact"], names, objects.get) == ("Account", "Account.Owner")
