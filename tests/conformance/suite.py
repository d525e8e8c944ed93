"""What every connector must do, whatever its vendor: ``Common`` always, ``Records`` if it reads CRM objects.

``suite_esp`` has what holds of consent and of rows at an ESP. A connector's test file subclasses the suites that fit
and provides the fixture ``lab``; see ``test_memory.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from connectors.base import Account
from connectors.errors import AnotherAccount, CursorLost, Reauthenticate, Throttled
from syncd.model import Batch, Field, Op, StreamSpec, Value
from tests.conformance.lab import (
    ODD_ADDRESSES,
    ODD_TEXTS,
    PRIVATE,
    Lab,
    RecordLab,
    StatusLab,
    absent,
    assert_clean,
    current,
    drive,
    failing,
    fetched,
    read,
    read_broken,
    rows_of,
)


class Common:
    """What holds of every connector. The test file provides the fixture ``lab``."""

    def test_check_is_healthy(self, lab: Lab) -> None:
        health = lab.connector.check()
        assert health.ok, [f.message for f in health.findings]
        assert health.account

    def test_capabilities_make_sense(self, lab: Lab) -> None:
        can = lab.connector.capabilities
        assert set(can.batch) <= {"upsert", "remove", "status", "update", "create_object"}
        assert all(size > 0 for size in can.batch.values())
        assert can.concurrency > 0
        assert can.writes > 0
        assert can.keyed_by in ("key", "address")
        assert can.irreversible <= set(can.batch)

    def test_an_unknown_object_is_absent_from_the_catalogue(self, lab: Lab) -> None:
        assert lab.connector.describe(["NoSuchThing__x"]).objects == {}

    def test_what_was_learnt_is_believed_without_a_call(self, lab: Lab) -> None:
        """As another process would; notes that cannot be read do no harm."""
        containers = lab.containers if isinstance(lab, StatusLab) else ()
        feeds = lab.connector.feeds(containers)
        for feed in feeds:
            read(lab.connector, feed)
        notes = lab.connector.learnt()
        assert not any(secret in notes for secret in lab.secrets)
        for others in ("", "[]", "{}", "[0, {}]", '["x"'):
            lab.connector.recall(others)
            assert lab.connector.feeds(containers) == feeds
        lab.connector.recall(notes)
        calls = lab.connector.counter.calls
        assert lab.connector.feeds(containers) == feeds
        assert lab.connector.learnt() == notes
        assert lab.connector.counter.calls == calls

    def test_every_feed_can_be_read(self, lab: Lab) -> None:
        containers = lab.containers if isinstance(lab, StatusLab) else ()
        for feed in lab.connector.feeds(containers):
            assert feed.kind in ("status", "event", "history", "send")
            pages = read(lab.connector, feed)
            read(lab.connector, feed, pages[-1].cursor)

    def test_calls_are_counted_and_clocks_compared(self, lab: Lab) -> None:
        before = lab.connector.counter.calls
        lab.connector.check()
        assert lab.connector.counter.calls > before
        assert lab.connector.counter.bytes_in > 0
        assert lab.connector.server_skew is not None
        assert abs(lab.connector.server_skew) < 5
        assert all("@" not in route and "?" not in route for route in lab.connector.counter.by_route)

    def test_a_login_tells_the_time_and_is_not_made_twice(self, lab: Lab) -> None:
        lab.connector.login()
        assert lab.connector.server_skew is not None
        calls = lab.connector.counter.calls
        lab.connector.login()
        assert lab.connector.counter.calls == calls

    def test_an_account_is_the_same_at_every_login(self, lab: Lab) -> None:
        told: list[Account] = []
        lab.connector.watch(told.append)
        lab.connector.check()
        assert {*told, lab.connector.login()} == {told[0]}
        assert told[0].place
        assert not any(secret in str(told[0]) for secret in lab.secrets)

    def test_an_account_that_is_refused_is_neither_read_nor_written(self, lab: Lab) -> None:
        def refuse(account: Account) -> None:
            raise AnotherAccount("This is another account.")

        feeds = lab.connector.feeds(lab.containers if isinstance(lab, StatusLab) else ())
        lab.connector.login()
        lab.connector.watch(refuse)
        can, calls = lab.connector.capabilities, lab.connector.counter.calls
        for ask in (lab.connector.describe, *(partial(read, lab.connector, feed) for feed in feeds),
                    *(partial(lab.connector.fetch, feed, ["1@mail.example"]) for feed in feeds if feed.kind == "status"),
                    *(partial(lab.connector.apply, Batch("status", feed.container or "", ("status",), [
                        Op(1, "1@mail.example", "1@mail.example", ("unsubscribed",))])) for feed in feeds
                      if feed.kind == "status"),
                    lab.connector.login):
            assert isinstance(failing(ask), AnotherAccount)
        assert (lab.connector.capabilities, lab.connector.counter.calls) == (can, calls)
        lab.connector.watch(lambda account: None)
        lab.connector.describe()

    def test_throttling_is_reported_with_its_time(self, lab: Lab) -> None:
        lab.connector.check()
        lab.throttle(17)
        error = failing(lambda: lab.connector.describe())
        assert isinstance(error, Throttled)
        if lab.tells_pause:
            assert error.retry_after is not None
            assert 0 < error.retry_after <= 18
        assert_clean(error, lab)

    def test_revoked_credentials_need_a_person(self, lab: Lab) -> None:
        lab.revoke()
        error = failing(lab.connector.check)
        assert isinstance(error, Reauthenticate)
        assert_clean(error, lab)

    def test_a_cursor_of_something_else_is_lost_and_not_misread(self, lab: Lab) -> None:
        for feed in [*lab.connector.feeds(()), *([lab.spec] if isinstance(lab, RecordLab) else [])]:
            error = failing(partial(read, lab.connector, feed, '{"v": 999, "x": "?"}'))
            assert isinstance(error, CursorLost)


class Records:
    """What holds of every connector that reads CRM objects."""

    def make(self, lab: RecordLab, count: int | None = None) -> list[str]:
        wanted = lab.many if count is None else count
        ids = [lab.create(f"person{n}@mail.example", f"Person {n}") for n in range(wanted)]
        lab.settle()
        return ids

    def test_an_empty_object_yields_one_page(self, lab: RecordLab) -> None:
        pages = read(lab.connector, lab.spec)
        assert rows_of(pages) == []
        assert pages[-1].complete
        assert rows_of(read(lab.connector, lab.spec, pages[-1].cursor)) == []

    def test_a_listing_from_the_start_is_whole(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        pages = read(lab.connector, lab.spec)
        assert set(current(pages, lab.spec)) == set(ids)
        assert pages[-1].complete
        for row in current(pages, lab.spec).values():
            assert isinstance(row["modified"], int)
            assert row["deleted"] == 0
            assert row["merged_into"] is None

    def test_resuming_from_any_page_loses_nothing(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        count = len(read(lab.connector, lab.spec))
        assert count > 1, "the lab's pages are too large for this test"
        for stop in range(1, count + 1):
            begun = list(itertools.islice(lab.connector.changes(lab.spec, None), stop))
            rest = read(lab.connector, lab.spec, begun[-1].cursor)
            assert set(current([*begun, *rest], lab.spec)) == set(ids)
            assert not rest[-1].complete, "a resumed listing says nothing about absence"

    def test_changes_made_while_reading_are_not_lost(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        begun = list(itertools.islice(lab.connector.changes(lab.spec, None), 1))
        for id in ids:
            lab.edit(id, "Edited")
        new = lab.create("late@mail.example", "Late")
        lab.settle()
        rest = read(lab.connector, lab.spec, begun[-1].cursor)
        rows = current([*begun, *rest], lab.spec)
        assert {rows[id][lab.text] for id in ids} == {"Edited"}
        assert rows[new][lab.text] == "Late"

    def test_a_read_that_breaks_can_be_gone_on_with(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        for good in (0, 1):
            assert set(current(read_broken(lab, lab.spec, good), lab.spec)) == set(ids)

    def test_two_may_read_at_once(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        with ThreadPoolExecutor(2) as pool:
            for pages in pool.map(lambda _: read(lab.connector, lab.spec), range(2)):
                assert set(current(pages, lab.spec)) == set(ids)

    def test_merged_records_are_seen_as_declared(self, lab: RecordLab) -> None:
        loser, winner = self.make(lab, 2)
        cursor = read(lab.connector, lab.spec)[-1].cursor
        lab.merge(loser, winner)
        lab.settle()
        rows = current(read(lab.connector, lab.spec, cursor), lab.spec)
        if lab.connector.capabilities.merges_visible:
            assert (rows[loser]["deleted"], rows[loser]["merged_into"]) == (1, winner)
        assert rows_of(read(lab.connector, StreamSpec(lab.spec.object, ids_only=True))) == [(winner,)]

    def test_an_increment_holds_what_changed_and_then_ends(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        pages = read(lab.connector, lab.spec)
        quiet = read(lab.connector, lab.spec, pages[-1].cursor)
        assert set(rows_of(quiet)) <= set(rows_of(pages)), "an increment without changes may only repeat"
        lab.edit(ids[0], "Edited")
        lab.settle()
        changed = read(lab.connector, lab.spec, quiet[-1].cursor)
        assert current(changed, lab.spec)[ids[0]][lab.text] == "Edited"
        assert not changed[-1].complete

    def test_the_same_cursor_may_be_used_twice(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        cursor = read(lab.connector, lab.spec)[-1].cursor
        lab.edit(ids[1], "Edited")
        lab.settle()
        once, twice = (current(read(lab.connector, lab.spec, cursor), lab.spec) for _ in range(2))
        assert once[ids[1]] == twice[ids[1]]

    def test_deletions_are_seen_as_declared(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        cursor = read(lab.connector, lab.spec)[-1].cursor
        lab.delete(ids[0])
        lab.settle()
        rows = current(read(lab.connector, lab.spec, cursor), lab.spec)
        if lab.connector.capabilities.deletes_visible:
            assert rows[ids[0]]["deleted"] == 1
        listing = read(lab.connector, StreamSpec(lab.spec.object, ids_only=True))
        assert {id for (id,) in rows_of(listing)} == set(ids[1:])
        again = lab.connector.fetch(lab.spec, ids[:2])
        assert current([again], lab.spec).get(ids[0], {"deleted": 1})["deleted"] == 1

    def test_a_listing_of_ids_is_numbered_and_complete(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        spec = StreamSpec(lab.spec.object, ids_only=True)
        pages = read(lab.connector, spec)
        assert sorted(rows_of(pages)) == sorted((id,) for id in ids)
        assert pages[-1].complete
        again = read(lab.connector, spec, pages[-1].cursor)
        assert {id for (id,) in rows_of([*pages, *again])} == set(ids)

    def test_odd_values_survive(self, lab: RecordLab) -> None:
        made = {lab.create(address, text): (address, text)
                for address, text in zip(itertools.cycle(ODD_ADDRESSES), ODD_TEXTS, strict=False)}
        lab.settle()
        for rows in (current(read(lab.connector, lab.spec), lab.spec),
                     fetched(lab.connector, lab.spec, list(made), "id")):
            for id, (address, text) in made.items():
                assert str(rows[id][lab.email]).casefold() == address.casefold()
                assert rows[id][lab.text] == text

    def test_fetch_tells_the_truth_of_the_named_only(self, lab: RecordLab) -> None:
        ids = self.make(lab)
        page = lab.connector.fetch(lab.spec, [ids[2], lab.unknown_id, ids[0]])
        assert set(current([page], lab.spec)) == {ids[0], ids[2]}
        assert rows_of([lab.connector.fetch(lab.spec, [])]) == []

    def test_a_ticked_master_flag_arrives(self, lab: RecordLab) -> None:
        if lab.flag is None:
            absent("this object has no master flag")
        [id, *_] = self.make(lab)
        assert lab.connector.describe([lab.spec.object]).objects[lab.spec.object].master_flag == lab.flag
        cursor = read(lab.connector, lab.spec)[-1].cursor
        lab.opt_out(id)
        lab.settle()
        assert current(read(lab.connector, lab.spec, cursor), lab.spec)[id][lab.flag] == 1

    def test_the_catalogue_names_the_fields_of_the_stream(self, lab: RecordLab) -> None:
        info = lab.connector.describe([lab.spec.object]).objects[lab.spec.object]
        described = {f.name: f for f in info.fields}
        for field in lab.spec.fields:
            assert described[field.name].type == field.type

    # ------------------------------------------------------------------ writing

    def update(self, lab: RecordLab, ops: Sequence[tuple[str, Value]], field: str = "") -> Batch:
        return Batch("update", lab.spec.object, (field or lab.writable,),
                     [Op(n, key, None, (value,)) for n, (key, value) in enumerate(ops)])

    def held(self, lab: RecordLab, ids: Sequence[str], field: str = "") -> list[Value]:
        """The field of these records now."""
        lab.settle()
        spec = StreamSpec(lab.spec.object, fields=(Field(field or lab.writable),))
        rows = fetched(lab.connector, spec, ids, "id")
        return [rows[id][field or lab.writable] for id in ids]

    def test_outcomes_match_operations_and_a_bad_one_sinks_none(self, lab: RecordLab) -> None:
        first, second, third = self.make(lab, 3)
        field, bad = lab.refused or (lab.writable, "x" * 4000)
        outcomes = drive(lab, self.update(
            lab, [(first, "First"), (lab.unknown_id, "Nobody"), (second, bad), (third, "Third")], field))
        assert [o.state for o in outcomes] == ["done", "rejected", "rejected", "done"]
        assert all(o.reason and "Nobody" not in o.reason and "xxx" not in o.reason for o in outcomes[1:3])
        assert self.held(lab, [first, third], field) == ["First", "Third"]

    def test_updating_twice_equals_once_and_none_clears(self, lab: RecordLab) -> None:
        ids = self.make(lab, 2)
        seen = []
        for _ in range(2):
            assert [o.state for o in drive(lab, self.update(lab, [(ids[0], "🦊 Ø"), (ids[1], None)]))] == ["done"] * 2
            seen.append(self.held(lab, ids))
        assert seen == [["🦊 Ø", None]] * 2

    def test_the_largest_declared_update_is_true(self, lab: RecordLab) -> None:
        size = lab.connector.capabilities.batch["update"]
        ids = self.make(lab, size)
        outcomes = lab.connector.apply(self.update(lab, [(id, "All") for id in ids]))
        assert [o.state for o in outcomes] == ["done"] * size

    def test_a_lost_reply_is_unknown_and_fetch_tells(self, lab: RecordLab) -> None:
        ids = self.make(lab, 2)
        lab.lose_reply("update")
        outcomes = lab.connector.apply(self.update(lab, [(id, "Written") for id in ids]))
        assert [o.state for o in outcomes] == ["unknown"] * 2
        assert self.held(lab, ids) == ["Written"] * 2

    def test_errors_of_writes_hold_nothing_private(self, lab: RecordLab) -> None:
        [id] = self.make(lab, 1)
        bad = Batch("update", lab.spec.object, ("No_Such_Field__x",), [Op(1, id, None, (PRIVATE,))])
        good = self.update(lab, [(id, PRIVATE)])
        error = failing(lambda: lab.connector.apply(bad))
        if error is None:  # some vendors refuse row by row
            [outcome] = lab.connector.apply(bad)
            assert outcome.state == "rejected"
            assert PRIVATE not in str(outcome.reason)
        else:
            assert_clean(error, lab, PRIVATE, "person0@mail.example")
        lab.throttle(3)
        error = failing(lambda: lab.connector.apply(good))
        assert isinstance(error, Throttled)
        assert_clean(error, lab, PRIVATE, "person0@mail.example")
