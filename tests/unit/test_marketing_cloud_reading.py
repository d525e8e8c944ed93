"""What the Marketing Cloud connector reads, against the simulator: statuses, events, rows, descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.errors import Misconfigured, Outage
from connectors.sim.kernel import Fault
from connectors.sim.marketing_cloud import people
from syncd.model import EVENT_COLUMNS, STATUS_COLUMNS, Field, Page, StreamSpec, Value
from tests.unit.marketing_cloud_lab import ENTERPRISE, LIST, MID, NOW, SISTER, World, simulated

EVERYONE = StreamSpec("subscribers", "status", container="")
MEMBERS = StreamSpec(f"list:{LIST}", "status", container=LIST)
EVENTS = StreamSpec("events", "event")
HOUR = 3_600


@pytest.fixture
def world() -> Iterator[World]:
    with simulated() as made:
        yield made


def read(world: World, spec: StreamSpec, cursor: str | None = None) -> list[Page]:
    pages = list(world.connector.changes(spec, cursor))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert all(len(page.cursor.encode()) <= 4_096 for page in pages)
    return pages


def told(pages: list[Page], columns: tuple[str, ...] = STATUS_COLUMNS) -> list[dict[str, Value]]:
    return [dict(zip(columns, row, strict=True)) for page in pages for row in page.rows]


def brief(pages: list[Page]) -> list[tuple[Value, Value, Value]]:
    """(key, status, origin) of every row in order."""
    return [(row["key"], row["status"], row["origin"]) for row in told(pages)]


def leave(world: World, key: str, reason: str = people.BY_CENTRE, mid: int = MID) -> None:
    subscriber = world.tenant.find(key)
    assert subscriber is not None
    people.unsubscribe_all(world.tenant, subscriber, mid, None, reason, flip=False)


def set_master(world: World, key: str, status: str, reason: str, mid: int = MID) -> None:
    subscriber = world.tenant.find(key)
    assert subscriber is not None
    people.set_master(world.tenant, subscriber, status, mid, reason)


# --------------------------------------------------------------------------- All Subscribers

def test_the_first_reading_is_everybody(world: World) -> None:
    leave(world, "k1")
    set_master(world, "k2", "Held", "Bounced")
    pages = read(world, EVERYONE)
    assert pages[-1].complete
    assert brief(pages) == [("k0", "subscribed", "unknown"), ("k1", "unsubscribed", "unknown"),
                            ("k2", "held", "bounce"), ("k3", "subscribed", "unknown"), ("k4", "subscribed", "unknown")]
    row = told(pages)[1]
    assert (row["container"], row["email"], row["at"]) == ("", "p1@mail.example", pytest.approx(NOW * 1e6, abs=60e6))


def test_a_change_comes_with_its_cause_and_time(world: World) -> None:
    cursor = read(world, EVERYONE)[-1].cursor
    world.kernel.clock.advance(HOUR)
    for key, reason in (("k1", people.BY_CENTRE), ("k2", "Spam complaint from mail.example"), ("k3", people.BY_IMPORT)):
        leave(world, key, reason)
    pages = read(world, EVERYONE, cursor)
    assert sorted(brief(pages)) == [("k1", "unsubscribed", "person"), ("k2", "unsubscribed", "complaint"),
                                    ("k3", "unsubscribed", "import")]
    assert not pages[-1].complete
    assert [row["at"] for row in told(pages)] == [pytest.approx((NOW + HOUR) * 1e6, abs=60e6)] * 3


def test_a_repeated_window_costs_one_call_and_tells_nothing_twice(world: World) -> None:
    cursor = read(world, EVERYONE)[-1].cursor
    leave(world, "k1")
    cursor = read(world, EVERYONE, cursor)[-1].cursor
    calls = world.calls()
    pages = read(world, EVERYONE, cursor)
    assert brief(pages) == []
    assert world.calls() == calls + 1
    leave(world, "k2")
    assert brief(read(world, EVERYONE, pages[-1].cursor)) == [("k2", "unsubscribed", "person")]


def test_a_late_event_is_found_by_the_overlap(world: World) -> None:
    cursor = read(world, EVERYONE)[-1].cursor
    leave(world, "k1")
    hidden = world.tenant.changes.pop()
    world.kernel.clock.advance(HOUR)
    cursor = read(world, EVERYONE, cursor)[-1].cursor
    world.tenant.changes.append(hidden)  # it happened an hour ago and becomes visible now
    world.kernel.clock.advance(60)
    assert brief(read(world, EVERYONE, cursor)) == [("k1", "unsubscribed", "person")]


def test_an_opt_out_that_an_import_overwrote_between_two_readings_is_told(world: World) -> None:
    cursor = read(world, EVERYONE)[-1].cursor
    leave(world, "k1")
    world.kernel.clock.advance(60)
    set_master(world, "k1", "Active", "Imported")
    pages = read(world, EVERYONE, cursor)
    assert brief(pages) == [("k1", "unsubscribed", "person"), ("k1", "subscribed", "unknown")]
    assert len(pages) == 2, "the opt-out first, on a page of its own"
    again = read(world, EVERYONE, pages[0].cursor)
    assert brief(again) == brief(pages), "a crash after the first page repeats it"


def test_what_a_sister_business_unit_lost_is_not_ours(world: World) -> None:
    """An enterprise sees its units' events; an opt-out from the enterprise itself concerns everyone."""
    reader = world.connector._statuses
    units = (None, str(MID), str(ENTERPRISE), str(SISTER))
    assert [reader._is_ours(unit) for unit in units] == [True, True, True, False]
    cursor = read(world, EVERYONE)[-1].cursor
    world.tenant.changes.append(
        people.StatusEvent(ENTERPRISE, 1, "k1", "Normal", "Unsub", people.BY_CENTRE, NOW + 1))
    assert brief(read(world, EVERYONE, cursor)) == [("k1", "unsubscribed", "person"), ("k1", "subscribed", "unknown")]


def test_a_deleted_subscriber_is_removed(world: World) -> None:
    cursor = read(world, EVERYONE)[-1].cursor
    leave(world, "k1")
    event = world.tenant.changes[-1]
    subscriber = world.tenant.find("k1")
    assert subscriber is not None
    world.tenant.remove_subscriber(subscriber)
    world.tenant.changes.append(event)
    assert brief(read(world, EVERYONE, cursor)) == [("k1", "unsubscribed", "person"), ("k1", "removed", "unknown")]


# --------------------------------------------------------------------------- lists

def test_a_list_is_read_whole_and_then_by_what_moved(world: World) -> None:
    pages = read(world, MEMBERS)
    assert brief(pages) == [("k0", "subscribed", "unknown"), ("k1", "subscribed", "unknown")]
    assert pages[-1].complete
    assert told(pages)[0]["container"] == LIST
    world.kernel.clock.advance(3 * HOUR)
    cursor = read(world, MEMBERS, pages[-1].cursor)[-1].cursor
    world.kernel.clock.advance(3 * HOUR)
    assert brief(read(world, MEMBERS, cursor)) == []
    subscriber = world.tenant.find("k1")
    assert subscriber is not None
    people.unsubscribe_list(world.tenant, subscriber, world.tenant.lists[int(LIST)], None)
    assert brief(read(world, MEMBERS, cursor)) == [("k1", "unsubscribed", "unknown")]


def test_pages_can_be_resumed_anywhere() -> None:
    with simulated(page_size=2) as world:
        for spec in (EVERYONE, MEMBERS):
            pages = read(world, spec)
            keys = [row["key"] for row in told(pages)]
            for stop in range(len(pages)):
                rest = read(world, spec, pages[stop].cursor)
                assert set(keys) <= {row["key"] for row in told([*pages[:stop + 1], *rest])}


def test_a_page_that_the_vendor_forgot_costs_repeats_and_no_rows() -> None:
    with simulated(page_size=2) as world:
        stream = world.connector.changes(EVERYONE, None)
        first = next(stream)
        world.sim.soap.retriever._open.clear()
        rows = [*first.rows, *(row for page in stream for row in page.rows)]
        assert {row[1] for row in rows} == {f"k{n}" for n in range(5)}
        assert len(rows) == 7


def test_statuses_are_fetched_by_key_in_chunks() -> None:
    with simulated(objects_per_call=2) as world:
        leave(world, "k3")
        page = world.connector.fetch(EVERYONE, ["k3", "K0", "nobody", "k1"])
        assert {row[1]: row[3] for row in page.rows} == {"k3": "unsubscribed", "k0": "subscribed", "k1": "subscribed"}
        page = world.connector.fetch(MEMBERS, ["k1", "k3"])
        assert [(row[0], row[1], row[3]) for row in page.rows] == [(LIST, "k1", "subscribed")]
        with pytest.raises(Misconfigured):
            world.connector.fetch(EVENTS, ["k1"])


# --------------------------------------------------------------------------- events

def test_events_of_a_mail_have_the_same_id_each_time(world: World) -> None:
    world.sim.load({"DataExtensionObject[OFFERS]": [{"SubscriberKey": f"k{n}", "Email": f"p{n}@mail.example"}
                                                    for n in range(3)]})
    start = read(world, EVENTS)[-1].cursor
    send = world.sim.act({"actor": "esp_user", "do": "send", "to": {"audience": "offers"}, "list": "offers",
                          "classification": "commercial"})
    for n, act in enumerate(({"do": "unsubscribe", "from": {"topic": "offers"}}, {"do": "unsubscribe", "from": "all"},
                             {"do": "bounce", "kind": "hard", "from": {"mail": send["id"]}})):
        world.sim.act({"actor": "recipient", "esp": "marketing_cloud", "email": f"p{n}@mail.example", **act})
    pages = read(world, EVENTS, start)
    rows, job = told(pages, EVENT_COLUMNS), str(send["id"])
    assert [(row["key"], row["kind"], row["send"]) for row in rows] == [
        ("k0", "unsubscribe", job), ("k1", "master_unsubscribe", job), ("k2", "hard_bounce", job)]
    assert rows[0]["container"] == LIST
    assert rows[2]["evidence"] == "bounce_event:550"
    assert len({row["event"] for row in rows}) == 3
    assert all("k" + str(n) not in str(row["event"])[:2] for n, row in enumerate(rows))
    assert [row[0] for page in read(world, EVENTS, pages[-1].cursor) for row in page.rows] == [r["event"] for r in rows]
    assert not pages[-1].complete


def test_the_first_reading_of_events_reaches_back_as_far_as_told() -> None:
    with simulated(event_days=1) as world:
        for days in (3, 0.5):
            world.tenant.unsubs.append(people.UnsubEvent(MID, "k0", NOW - days * 86_400, 7, 1, int(LIST), False, "x"))
        assert len(told(read(world, EVENTS), EVENT_COLUMNS)) == 1


# --------------------------------------------------------------------------- rows

ROWS = StreamSpec("de:offers", "row", (Field("firstname"), Field("Spent", "decimal"), Field("Born", "date"),
                                       Field("Vip", "bool"), Field("Visits", "integer")))


def fill(world: World, count: int) -> None:
    world.sim.load({"DataExtensionObject[OFFERS]": [
        {"SubscriberKey": f"k{n}", "Email": f"p{n}@mail.example", "FirstName": "Łukasz <&> 🦊", "Spent": "12.5",
         "Born": "1970-01-31", "Vip": n % 2 == 0, "Visits": n} for n in range(count)]})


def test_rows_are_listed_whole_with_typed_values() -> None:
    with simulated(page_size=2) as world:
        fill(world, 3)
        pages = read(world, ROWS)
        rows = [row for page in pages for row in page.rows]
        assert rows[1] == ("k1", "p1@mail.example", "Łukasz <&> 🦊", "12.50", "1970-01-31", 0, 1)
        assert [row[0] for row in rows] == ["k0", "k1", "k2"]
        assert [page.complete for page in pages] == [False, True]
        assert [row for page in read(world, ROWS, pages[-1].cursor) for row in page.rows] == rows
        rest = read(world, ROWS, pages[0].cursor)
        assert [row[0] for row in rest[0].rows] == ["k2"]
        assert not rest[-1].complete


def test_rows_are_fetched_by_primary_key(world: World) -> None:
    fill(world, 3)
    page = world.connector.fetch(ROWS, ["k2", "nobody"])
    assert [row[0] for row in page.rows] == ["k2"]


@pytest.mark.parametrize("spec", [
    StreamSpec("de:NOPE", "row"), StreamSpec("OFFERS", "row"), StreamSpec("de:OFFERS", "row", (Field("Nope"),)),
    StreamSpec("Contact", "record"), StreamSpec("Contact", "status"),
])
def test_what_is_not_there_is_misconfigured(world: World, spec: StreamSpec) -> None:
    with pytest.raises(Misconfigured):
        list(world.connector.changes(spec, None))


def test_a_row_without_its_key_is_an_outage(world: World) -> None:
    fill(world, 1)
    world.kernel.faults.add(Fault("marketing_cloud", "drop_field", field="SubscriberKey", object="OFFERS"))
    with pytest.raises(Outage):
        list(world.connector.changes(ROWS, None))


def test_a_column_added_meanwhile_is_found(world: World) -> None:
    fill(world, 1)
    read(world, ROWS)
    extension = world.tenant.extension(MID, "OFFERS")
    assert extension is not None
    from connectors.sim.marketing_cloud.extensions import change_columns
    from connectors.sim.marketing_cloud.values import Column
    change_columns(extension, [Column("City", "Text", 50)])
    spec = StreamSpec("de:OFFERS", "row", (Field("City"),))
    assert [row for page in read(world, spec) for row in page.rows] == [("k0", "p0@mail.example", None)]


# --------------------------------------------------------------------------- check, describe, feeds

def test_check_tells_the_business_unit_and_how_it_unsubscribes(world: World) -> None:
    health = world.connector.check()
    assert health.ok
    assert health.account == f"Main (MID {MID})"
    assert [f.message for f in health.findings] == [
        "An unsubscribe from everything holds for this business unit only."]
    assert health.quota["calls_since_start"] == (world.calls(), 2_000_000)


def test_check_names_missing_scopes() -> None:
    client = {"secret": "mc-secret", "scopes": ["data_extensions_read", "list_and_subscribers_read",
                                                "list_and_subscribers_write", "tracking_events_read"]}
    with simulated({"clients": {"mc-client": client}}) as world:
        health = world.connector.check()
        assert not health.ok
        assert ["data_extensions_write" in f.message for f in health.findings if f.level == "error"] == [True]


def test_check_warns_of_an_exhausted_year_and_an_unreadable_setting() -> None:
    with simulated(yearly_calls=1_000) as world:
        world.connector.check()
        world.kernel.clock.advance(2 * HOUR)
        world.kernel.faults.add(Fault("marketing_cloud", "empty_list", object=None))
        messages = [f.message for f in world.connector.check().findings if f.level == "warning"]
        assert any("call volume" in m for m in messages)
        assert any("unsubscribe setting cannot be read" in m for m in messages)


def test_an_answer_without_the_business_unit_itself_was_cut(world: World) -> None:
    world.kernel.faults.add(Fault("marketing_cloud", "truncated_page", object="BusinessUnit", count=2))
    told = world.connector.describe(["subscribers"]).objects["subscribers"].properties
    assert told == {"master_unsubscribe": "BUSINESS_UNIT_ONLY", "account": str(ENTERPRISE)}


def test_describe_lists_what_there_is(world: World) -> None:
    found = world.connector.describe().objects
    assert {f"list:{LIST}", "de:OFFERS", "subscribers", "events"} <= set(found)
    assert found[f"list:{LIST}"].properties["classification"] == "PublicationList"
    assert found["subscribers"].properties["master_unsubscribe"] == "BUSINESS_UNIT_ONLY"


def test_describe_tells_columns_key_sendability_and_retention(world: World) -> None:
    world.sim.load({"DataExtension": [{"CustomerKey": "KEPT & <short>", "Name": "Kept", "Fields": [{"Name": "Id"}],
                                       "RowBasedRetention": True, "DataRetentionPeriodLength": 3}]})
    found = world.connector.describe(["de:offers", "de:KEPT & <short>", "de:NOPE", f"list:{LIST}", "list:9"]).objects
    assert set(found) == {"de:offers", "de:KEPT & <short>", f"list:{LIST}"}
    offers = found["de:offers"]
    assert [(f.name, f.type) for f in offers.fields] == [
        ("SubscriberKey", "text"), ("Email", "text"), ("FirstName", "text"), ("Spent", "decimal"), ("Born", "instant"),
        ("Vip", "bool"), ("Visits", "integer")]
    assert [f.name for f in offers.fields if f.primary_key or not f.nullable] == ["SubscriberKey"]
    assert [f.length for f in offers.fields] == [254, 254, 50, None, None, None, None]
    assert dict(offers.properties) == {"sendable": True, "sendable_field": "SubscriberKey",
                                       "subscriber_field": "SubscriberKey", "retention": False}
    kept = found["de:KEPT & <short>"].properties
    assert (kept["sendable"], kept["retention"]) == (False, True)


def test_feeds_are_everyone_each_list_and_the_events(world: World) -> None:
    feeds = world.connector.feeds(["", LIST, LIST, "9"])
    assert [(f.object, f.kind, f.container) for f in feeds] == [
        ("subscribers", "status", ""), (f"list:{LIST}", "status", LIST), ("list:9", "status", "9"),
        ("events", "event", None), ("sends", "send", None)]


def test_the_vendors_own_time_zone_does_not_shift_a_window() -> None:
    options: dict[str, Any] = {"server_utc_offset": -7}
    with simulated(options, server_utc_offset=-7) as world:
        cursor = read(world, EVERYONE)[-1].cursor
        world.kernel.clock.advance(10)
        leave(world, "k1")
        assert told(read(world, EVERYONE, cursor))[0]["at"] == pytest.approx((NOW + 10) * 1e6, abs=60e6)
