"""What every connector must do with consent (``Statuses``) and with rows of audiences (``Audiences``)."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest

from connectors.base import Eraser
from connectors.errors import Misconfigured, Throttled
from syncd.model import (
    EVENT_KINDS,
    ORIGINS,
    STATUSES,
    AudienceDefinition,
    Batch,
    Field,
    FieldInfo,
    Op,
    Outcome,
    StreamSpec,
    Value,
)
from tests.conformance.lab import (
    ODD_ADDRESSES,
    ODD_TEXTS,
    PRIVATE,
    AudienceLab,
    StatusLab,
    absent,
    assert_clean,
    current,
    drive,
    end,
    eventually,
    failing,
    fetched,
    read,
    read_broken,
    rows_of,
)


class Statuses:
    """What holds of every connector that carries consent."""

    def feed(self, lab: StatusLab, container: str) -> StreamSpec:
        """The one status feed of a container."""
        found = [f for f in lab.connector.feeds((*lab.containers, lab.unknown_list))
                 if f.kind == "status" and f.container == container]
        assert len(found) == 1
        return found[0]

    def people(self, lab: StatusLab, count: int = 4) -> dict[str, str]:
        """key → address of new subscribers."""
        addresses = [f"subscriber{n}@mail.example" for n in range(count)]
        people = {lab.join(f"key-{n}", address): address for n, address in enumerate(addresses)}
        lab.settle()
        return people

    def write(self, lab: StatusLab, container: str, status: str, keys: dict[str, str]) -> Batch:
        return Batch("status", container, ("status", "reason"),
                     [Op(n, key, email, (status, None)) for n, (key, email) in enumerate(keys.items())])

    def test_every_status_of_a_container_is_listed(self, lab: StatusLab) -> None:
        people = self.people(lab)
        for container in lab.containers:
            spec = self.feed(lab, container)
            pages = read(lab.connector, spec)
            assert pages[-1].complete
            rows = current(pages, spec, "key")
            assert container in lab.opt_outs_only or set(people) <= set(rows)
            for row in rows.values():
                assert row["container"] == container
                assert row["status"] in STATUSES
                assert row["origin"] in ORIGINS
                assert row["at"] is None or isinstance(row["at"], int)

    def test_a_list_that_is_not_there_is_no_empty_one(self, lab: StatusLab) -> None:
        """Nobody's refusals would be looked for, and those of others would find no place."""
        people = self.people(lab, 2)
        if not any(lab.containers):
            absent("this vendor has no lists")
        with pytest.raises(Misconfigured, match=lab.unknown_list):
            read(lab.connector, self.feed(lab, lab.unknown_list))
        with pytest.raises(Misconfigured, match=lab.unknown_list):
            lab.connector.apply(self.write(lab, lab.unknown_list, "unsubscribed", people))

    def test_a_deleted_subscriber_is_in_no_container_and_the_others_stay(self, lab: StatusLab) -> None:
        connector = lab.connector
        if not connector.capabilities.erases:
            absent("this vendor deletes nobody by its API")
        assert isinstance(connector, Eraser)
        people = self.people(lab)
        gone, *left = people
        asked = [connector.erase([gone, lab.unknown_key]) for _ in range(2)]
        assert {o.state for outcomes in asked for o in outcomes} <= {"accepted", "done"}
        lab.end_deletions()
        for request in {o.request_id for outcomes in asked for o in outcomes if o.request_id is not None}:
            assert connector.erased(request) == Outcome("done")
        for container in lab.containers:
            found = {str(row[1]) for row in connector.fetch(self.feed(lab, container), [gone, *left]).rows}
            assert gone not in found
            assert container in lab.opt_outs_only or set(left) <= found

    def test_an_opt_out_at_the_vendor_arrives_in_its_feed(self, lab: StatusLab) -> None:
        people = self.people(lab)
        untouched = list(people)
        for (key, email), container in zip(people.items(), lab.containers, strict=False):
            untouched.remove(key)
            spec = self.feed(lab, container)
            cursor = read(lab.connector, spec)[-1].cursor
            lab.unsubscribe(key, email, container)
            lab.settle()
            row = current(read(lab.connector, spec, cursor), spec, "key")[key]
            assert row["status"] == "unsubscribed"
            assert row["origin"] in ("person", "unknown", "api"), "not our own, no import, no bounce"
            assert {r["status"] for r in fetched(lab.connector, spec, untouched, "key").values()} <= {"subscribed"}

    def test_a_written_opt_out_is_seen_in_the_feed(self, lab: StatusLab) -> None:
        people = self.people(lab)
        for container in lab.containers:
            spec = self.feed(lab, container)
            cursor = read(lab.connector, spec)[-1].cursor
            assert {o.state for o in drive(lab, self.write(lab, container, "unsubscribed", people))} == {"done"}
            lab.settle()
            rows = current(read(lab.connector, spec, cursor), spec, "key")
            assert {rows[key]["status"] for key in people} == {"unsubscribed"}
            assert {r["status"] for r in fetched(lab.connector, spec, list(people), "key").values()} == {"unsubscribed"}

    def test_writing_a_status_twice_equals_once(self, lab: StatusLab) -> None:
        people = self.people(lab)
        for container in lab.containers:
            spec = self.feed(lab, container)
            for _ in range(2):
                assert {o.state for o in drive(lab, self.write(lab, container, "unsubscribed", people))} == {"done"}
                lab.settle()
                rows = fetched(lab.connector, spec, list(people), "key")
                assert {rows[key]["status"] for key in people} == {"unsubscribed"}

    def test_subscribed_is_written_when_asked(self, lab: StatusLab) -> None:
        people = self.people(lab, 2)
        for container in reversed(lab.containers):
            spec = self.feed(lab, container)
            for status in ("unsubscribed", "subscribed"):
                assert {o.state for o in drive(lab, self.write(lab, container, status, people))} == {"done"}
                lab.settle()
            rows = fetched(lab.connector, spec, list(people), "key")
            assert {rows[key]["status"] if key in rows else "subscribed" for key in people} == {"subscribed"}

    def test_an_unknown_subscriber_sinks_no_batch(self, lab: StatusLab) -> None:
        first, last = self.people(lab, 2).items()
        for container in lab.containers:
            keys = dict([first, (lab.unknown_key, "nobody@mail.example"), last])
            outcomes = drive(lab, self.write(lab, container, "unsubscribed", keys))
            assert [outcomes[0].state, outcomes[2].state] == ["done", "done"]
            assert outcomes[1].state in ("done", "rejected")
            assert "nobody@" not in (outcomes[1].reason or "")

    def test_the_largest_declared_status_write_is_true(self, lab: StatusLab) -> None:
        size = lab.connector.capabilities.batch["status"]
        batch = self.write(lab, lab.containers[-1], "unsubscribed", self.people(lab, size))
        assert {o.state for o in end(lab, batch, lab.connector.apply(batch))} == {"done"}

    def test_a_lost_reply_of_an_opt_out_is_unknown_and_fetch_tells(self, lab: StatusLab) -> None:
        people = self.people(lab, 2)
        container = lab.containers[-1]
        lab.lose_reply("status")
        outcomes = lab.connector.apply(self.write(lab, container, "unsubscribed", people))
        assert [o.state for o in outcomes] == ["unknown"] * 2
        spec = self.feed(lab, container)
        eventually(lab, lambda: {r["status"] for r in fetched(lab.connector, spec, list(people), "key").values()},
                   {"unsubscribed"})

    def test_events_keep_their_names(self, lab: StatusLab) -> None:
        specs = [f for f in lab.connector.feeds(lab.containers) if f.kind == "event"]
        if not specs:
            absent("this connector has no event feed")
        for key, email in self.people(lab, 2).items():
            lab.unsubscribe(key, email, lab.containers[-1])
        lab.settle()
        for spec in specs:
            once, twice = (rows_of(read(lab.connector, spec)) for _ in range(2))
            assert set(once) <= set(twice)
            assert len({row[0] for row in twice}) == len(set(twice)), "one name, one event"
            assert {row[1] for row in twice} <= set(EVENT_KINDS)

    def test_resuming_a_status_feed_loses_nothing(self, lab: StatusLab) -> None:
        people = self.people(lab, 7)
        spec = self.feed(lab, lab.containers[-1])
        pages = read(lab.connector, spec)
        for stop in range(len(pages)):
            rest = read(lab.connector, spec, pages[stop].cursor)
            assert set(people) <= set(current([*pages[:stop + 1], *rest], spec, "key"))

    def test_a_status_feed_that_breaks_can_be_gone_on_with(self, lab: StatusLab) -> None:
        people = self.people(lab, 7)
        spec = self.feed(lab, lab.containers[-1])
        for good in (0, 1):
            assert set(people) <= set(current(read_broken(lab, spec, good), spec, "key"))

    def test_errors_of_status_writes_hold_nothing_private(self, lab: StatusLab) -> None:
        people = self.people(lab, 1)
        batch = self.write(lab, lab.containers[-1], "unsubscribed", people)
        lab.throttle(3)
        error = failing(lambda: lab.connector.apply(batch))
        assert isinstance(error, Throttled)
        assert_clean(error, lab, *people.values())


class Audiences:
    """What holds of every connector that writes rows for an ESP to mail."""

    def spec(self, lab: AudienceLab) -> StreamSpec:
        info = lab.connector.describe([lab.audience]).objects[lab.audience]
        fields = {f.name.casefold(): f for f in info.fields}
        known = [fields[name.casefold()] for name in lab.columns]
        return StreamSpec(lab.audience, "row", tuple(Field(f.name, f.type) for f in known))

    def upsert(self, lab: AudienceLab, texts: Sequence[str], first: int = 0) -> Batch:
        return Batch("upsert", lab.audience, lab.columns,
                     [Op(n, f"row-{n}", f"row{n}@mail.example", lab.values(t)) for n, t in enumerate(texts, first)])

    def held(self, lab: AudienceLab) -> dict[Value, tuple[Value, Value]]:
        """key → (address, text) of every row, read twice: as a listing and by key."""
        spec = self.spec(lab)
        pages = read(lab.connector, spec)
        assert pages[-1].complete
        rows = current(pages, spec, "key")
        assert fetched(lab.connector, spec, [str(key) for key in rows], "key") == rows
        return {key: (row["email"], row[spec.fields[0].name]) for key, row in rows.items()}

    def test_rows_come_and_go(self, lab: AudienceLab) -> None:
        assert [o.state for o in drive(lab, self.upsert(lab, ["A", "B", "C"]))] == ["done"] * 3
        assert self.held(lab) == {f"row-{n}": (f"row{n}@mail.example", text) for n, text in enumerate("ABC")}
        gone = Batch("remove", lab.audience, (), [Op(9, "row-1", "row1@mail.example", ()),
                                                 Op(10, "row-77", "row77@mail.example", ())])
        assert [o.state for o in drive(lab, gone)] == ["done"] * 2, "what is not there is removed already"
        assert set(self.held(lab)) == {"row-0", "row-2"}

    def test_the_largest_declared_removal_is_true(self, lab: AudienceLab) -> None:
        size = lab.connector.capabilities.batch["remove"]
        upsert = self.upsert(lab, ["x"] * size)
        drive(lab, upsert)
        batch = Batch("remove", lab.audience, (), [op._replace(values=()) for op in upsert.ops])
        assert {o.state for o in end(lab, batch, lab.connector.apply(batch))} == {"done"}
        assert self.held(lab) == {}

    def test_upserting_twice_equals_once(self, lab: AudienceLab) -> None:
        for _ in range(2):
            assert [o.state for o in drive(lab, self.upsert(lab, ["A", "B"]))] == ["done"] * 2
            once = self.held(lab)
        assert once == self.held(lab)
        assert len(once) == 2

    def test_a_later_upsert_wins(self, lab: AudienceLab) -> None:
        drive(lab, self.upsert(lab, ["Old"]))
        drive(lab, self.upsert(lab, ["New"]))
        assert self.held(lab) == {"row-0": ("row0@mail.example", "New")}

    def test_odd_values_survive(self, lab: AudienceLab) -> None:
        addresses = [ODD_ADDRESSES[n % len(ODD_ADDRESSES)] for n in range(len(ODD_TEXTS))]
        batch = Batch("upsert", lab.audience, lab.columns, [
            Op(n, f"row-{n}", address, lab.values(text))
            for n, (address, text) in enumerate(zip(addresses, ODD_TEXTS, strict=True))])
        assert [o.state for o in drive(lab, batch)] == ["done"] * len(ODD_TEXTS)
        held = self.held(lab)
        for n, (address, text) in enumerate(zip(addresses, ODD_TEXTS, strict=True)):
            email, told = held[f"row-{n}"]
            assert told == text
            assert str(email).casefold() == address.casefold()

    def test_one_bad_row_sinks_none(self, lab: AudienceLab) -> None:
        texts = ["A", "B", lab.too_long, "D", "E"]
        outcomes = drive(lab, self.upsert(lab, texts))
        assert [o.state for o in outcomes] == ["done", "done", "rejected", "done", "done"]
        assert outcomes[2].reason
        assert lab.too_long not in outcomes[2].reason
        assert "row2@" not in outcomes[2].reason
        assert {key: text for key, (_, text) in self.held(lab).items()} == {
            f"row-{n}": text for n, text in enumerate(texts) if n != 2}

    def test_the_largest_declared_upsert_is_true(self, lab: AudienceLab) -> None:
        size = lab.connector.capabilities.batch["upsert"]
        batch = self.upsert(lab, ["x"] * size)
        assert {o.state for o in end(lab, batch, lab.connector.apply(batch))} == {"done"}
        listing = read(lab.connector, self.spec(lab))
        assert len({row[0] for row in rows_of(listing)}) == size

    def test_a_forgotten_request_is_unknown(self, lab: AudienceLab) -> None:
        batch = self.upsert(lab, ["A", "B"])
        outcomes = lab.connector.settle("00000000-0000-0000-0000-000000000000", batch)
        assert outcomes is not None
        assert [o.state for o in outcomes] == ["unknown"] * 2

    def test_a_lost_reply_is_unknown_and_fetch_tells(self, lab: AudienceLab) -> None:
        lab.lose_reply("upsert")
        outcomes = lab.connector.apply(self.upsert(lab, ["A", "B"]))
        assert [o.state for o in outcomes] == ["unknown"] * 2
        spec = self.spec(lab)
        eventually(lab, lambda: set(fetched(lab.connector, spec, ["row-0", "row-1"], "key")), {"row-0", "row-1"})

    def test_a_new_audience_can_be_filled(self, lab: AudienceLab) -> None:
        definition = AudienceDefinition("Made by us", "MADE_BY_US", "SubscriberKey", "EmailAddress", (
            FieldInfo("SubscriberKey", "text", nullable=False, length=254, primary_key=True),
            FieldInfo("EmailAddress", "text", length=254), FieldInfo("FirstName", "text", length=100)))
        make = Batch("create_object", "de:MADE_BY_US", ("definition",),
                     [Op(1, "MADE_BY_US", None, (orjson.dumps(definition).decode(),))])
        for _ in range(2):
            [outcome] = drive(lab, make)
            assert outcome.state == "done", outcome.reason
        info = lab.connector.describe(["de:MADE_BY_US"]).objects["de:MADE_BY_US"]
        assert "FirstName" in {f.name for f in info.fields}
        batch = Batch("upsert", "de:MADE_BY_US", ("FirstName",), [Op(2, "row-1", "row1@mail.example", ("Ada",))])
        assert [o.state for o in drive(lab, batch)] == ["done"]

    def test_errors_of_row_writes_hold_nothing_private(self, lab: AudienceLab) -> None:
        batch = self.upsert(lab, [PRIVATE])
        lab.throttle(3)
        error = failing(lambda: lab.connector.apply(batch))
        assert isinstance(error, Throttled)
        assert_clean(error, lab, PRIVATE, "row0@mail.example")

