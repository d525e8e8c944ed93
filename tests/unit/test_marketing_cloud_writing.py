"""What the Marketing Cloud connector writes: rows and their late ends, data extensions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from connectors.errors import Misconfigured, Throttled
from connectors.sim.kernel import Fault, Request, Response
from syncd.model import AudienceDefinition, Batch, FieldInfo, Op, Outcome, Value
from tests.unit.marketing_cloud_lab import MID, OBJECT, World, drive, end, fault, retrieved, scripted, simulated, states

COLUMNS = ("FirstName", "spent", "Born", "Vip", "Visits")
GOOD: tuple[Value, ...] = ("Ada", "12.50", "1970-01-31", 1, 3)


@pytest.fixture
def world() -> Iterator[World]:
    with simulated() as made:
        yield made


def batch_of(*values: tuple[Value, ...], columns: tuple[str, ...] = COLUMNS) -> Batch:
    ops = [Op(n, f"row-{n}", f"row{n}@mail.example", v) for n, v in enumerate(values)]
    return Batch("upsert", OBJECT, columns, ops)


# --------------------------------------------------------------------------- upsert

def test_accepted_is_not_done_and_the_values_arrive(world: World) -> None:
    batch = batch_of(GOOD, ("A\x00\ud800 🦊 <&>", None, 1_795_000_000_000_000, 0, None))
    outcomes = world.connector.apply(batch)
    assert states(outcomes) == ["accepted"] * 2
    request = outcomes[0].request_id
    assert request is not None
    assert world.connector.settle(request, batch) is None
    assert world.rows() == {}
    assert states(end(world, batch, outcomes)) == ["done"] * 2
    assert world.rows() == {
        "row-0": ("row-0", "row0@mail.example", "Ada", "12.50", "1/31/1970 12:00:00 AM", "True", "3"),
        "row-1": ("row-1", "row1@mail.example", "A 🦊 <&>", None, "11/18/2026 5:06:40 AM", "False", None)}


def test_a_request_a_restart_forgot_is_unknown(world: World) -> None:
    batch = batch_of(GOOD)
    [outcome] = world.connector.apply(batch)
    world.sim.queue.restart()
    assert states(world.connector.settle(outcome.request_id or "", batch) or []) == ["unknown"]


def test_a_lost_reply_is_unknown_and_a_row_that_does_not_fit_never_leaves(world: World) -> None:
    world.kernel.faults.add(Fault("marketing_cloud", "reset_after", "PUT /data/v1/async", count=1))
    assert states(world.connector.apply(batch_of(GOOD, ("Ada", "twelve", None, None, None)))) == ["unknown", "rejected"]
    world.kernel.clock.advance(60)
    world.connector.check()
    assert set(world.rows()) == {"row-0"}


@pytest.mark.parametrize(("bad", "reason"), [
    (("x" * 51, None, None, None, None), "InvalidLength"), (("x", "1.234", None, None, None), "InvalidDecimalScale"),
    (("x", None, None, None, 2**40), "InvalidNumber")])
def test_one_refused_row_is_found_though_the_error_names_none(
        world: World, bad: tuple[Value, ...], reason: str) -> None:
    batch = batch_of(GOOD, GOOD, bad, GOOD)
    outcomes = drive(world, batch)
    assert states(outcomes) == ["done", "done", "rejected", "done"]
    assert (outcomes[2].reason or "").partition(":")[0] == reason
    assert set(world.rows()) == {"row-0", "row-1", "row-3"}


def test_rows_that_are_sure_to_be_refused_never_leave(world: World) -> None:
    batch = batch_of(GOOD, ("x" * 51, *GOOD[1:]), GOOD, GOOD)
    strange = [Op(2, "row-2", "zoë@mail.example", GOOD), Op(3, "row-3", '"a b"@mail.example', GOOD)]
    outcomes = world.connector.apply(replace(batch, ops=[*batch.ops[:2], *strange]))
    assert states(outcomes) == ["accepted", "rejected", "rejected", "rejected"]
    assert [(o.reason or "").partition(":")[0] for o in outcomes[1:]] == [
        "InvalidLength", "InvalidEmailAddress", "InvalidEmailAddress"]


def test_a_refused_row_that_existed_is_found_by_its_values(world: World) -> None:
    drive(world, batch_of(GOOD, GOOD))
    outcomes = drive(world, batch_of(("New", *GOOD[1:]), ("New", "1.234", *GOOD[2:])))
    assert states(outcomes) == ["done", "rejected"]
    assert [row[2] for row in world.rows().values()] == ["New", "Ada"]


def test_refused_rows_of_different_kinds_are_halved_until_each_is_alone(world: World) -> None:
    fine, wide = ("x", "1.234", None, None, None), ("x", None, None, None, 2**40)
    outcomes = drive(world, batch_of(GOOD, fine, GOOD, wide, GOOD, fine))
    assert states(outcomes) == ["done", "rejected", "done", "rejected", "done", "rejected"]
    reasons = [(o.reason or "").partition(":")[0] for o in outcomes if o.reason]
    assert reasons == ["InvalidDecimalScale", "InvalidNumber", "InvalidDecimalScale"]


def test_a_deadlock_is_tried_again(world: World) -> None:
    world.kernel.faults.add(Fault("marketing_cloud", "partial", "async", count=1))
    assert states(drive(world, batch_of(*[GOOD] * 6))) == ["done"] * 6
    assert len(world.rows()) == 6


def test_a_batch_too_large_to_read_back_is_cut(world: World) -> None:
    batch = batch_of(*[("A", None)] * 600, ("A", "1.234"), columns=COLUMNS[:2])
    first = end(world, batch, world.connector.apply(batch))
    assert set(first) == {Outcome("retry", retry_after=0.0, max_batch=500)}
    assert states(drive(world, batch)) == ["done"] * 600 + ["rejected"]


def test_a_request_stays_below_its_size() -> None:
    with simulated(max_async_bytes=300, max_async_rows=3) as world:
        outcomes = world.connector.apply(batch_of(*[GOOD] * 4))
        taken = states(outcomes).count("accepted")
        assert 1 <= taken <= 3
        assert outcomes[-1] == Outcome("retry", retry_after=0.0, max_batch=taken)
        assert states(drive(world, batch_of(*[GOOD] * 4))) == ["done"] * 4
        outcomes = drive(world, batch_of(("🦊" * 50, *GOOD[1:]), GOOD))
        assert states(outcomes) == ["rejected", "done"]
        assert (outcomes[0].reason or "").startswith("row_too_large")


def test_a_data_extension_that_is_gone_is_misconfigured(world: World) -> None:
    drive(world, batch_of(GOOD))
    del world.tenant.extensions[MID, "offers"]
    with pytest.raises(Misconfigured, match="no data extension"):
        world.connector.apply(batch_of(GOOD, GOOD))


def test_without_one_primary_key_nothing_is_written(world: World) -> None:
    world.sim.load({"DataExtension": [{"CustomerKey": "HEAP", "Fields": [{"Name": "FirstName"}]}]})
    with pytest.raises(Misconfigured, match="primary key"):
        world.connector.apply(Batch("upsert", "de:HEAP", ("FirstName",), [Op(1, "k", None, ("x",))]))


def test_a_throttled_write_raises_and_writes_nothing(world: World) -> None:
    world.connector.describe([OBJECT])
    world.kernel.faults.add(Fault("marketing_cloud", "http_429", "PUT", count=1, seconds=7))
    with pytest.raises(Throttled) as caught:
        world.connector.apply(batch_of(GOOD))
    assert caught.value.retry_after == 7


FIELD = ("<Name>{}</Name><FieldType>{}</FieldType><IsPrimaryKey>{}</IsPrimaryKey><Ordinal>{}</Ordinal>"
         "<DataExtension><CustomerKey>OFFERS</CustomerKey></DataExtension>")
SCHEMA = retrieved(FIELD.format("SubscriberKey", "Text", "true", 0), FIELD.format("FirstName", "Text", "false", 1))


def settle_with(items: list[dict[str, str]], keys: Sequence[str], *more: Any, **status: Any) -> list[Outcome] | None:
    """``settle`` against these result items, for rows with ``keys``."""
    with scripted() as (script, connector):
        script.answers = [Response(200, {"status": {"requestStatus": "Complete", "hasErrors": True, **status}}),
                          Response(200, {"page": 1, "count": len(items), "items": items}), *more]
        ops = [Op(n, key, None, ("Ada",)) for n, key in enumerate(keys)]
        outcomes = connector.settle("r", Batch("upsert", OBJECT, ("FirstName",), ops))
        return None if outcomes is None else list(outcomes)


def error(text: str) -> dict[str, str]:
    return {"errorCode": "UnexpectedError", "message": text, "status": "Error"}


def stored(*keys: str) -> Response:
    """These rows, as written by ``settle_with``."""
    return retrieved(*[f"<SubscriberKey>{key}</SubscriberKey><FirstName>Ada</FirstName>" for key in keys])


def test_a_key_in_a_message_tells_why_a_row_is_missing() -> None:
    duplicate = "Violation of PRIMARY KEY constraint. The duplicate key value is (k1)."
    other = "The value for column [Spent] is not valid. Parse error [InvalidNumber]"
    outcomes = settle_with([error(other), error(duplicate)], ["k1", "k11", "k"], SCHEMA, stored("K"))
    assert [(o.reason or "").partition(":")[0] for o in outcomes or []] == ["DuplicateKey", "InvalidNumber", ""]
    assert states(outcomes or []) == ["rejected", "rejected", "done"]


def test_a_key_that_is_only_a_word_of_a_message_is_no_culprit() -> None:
    text = "The value exceeds the column's maximum length of 50. Parse error [InvalidLength]"
    outcomes = settle_with([error(text)], ["50", "k1"], SCHEMA, stored("50"))
    assert states(outcomes or []) == ["done", "rejected"]


def test_messages_that_do_not_add_up_halve_the_missing_rows() -> None:
    outcomes = settle_with([error("bad")], ["k1", "k2", "k3", "k4"], SCHEMA, stored())
    assert outcomes == [Outcome("retry", retry_after=0.0, max_batch=2)] * 4


def test_results_are_read_to_their_last_page() -> None:
    def page(request: Request) -> Response:
        number = int(request.query["$page"])
        return Response(200, {"page": number, "count": 2, "items": [error(f"bad row k{number}")]})

    with scripted() as (script, connector):
        script.answers = [Response(200, {"status": {"requestStatus": "Error"}}), page, page, SCHEMA, stored("k0")]
        ops = [Op(n, f"k{n}", None, ("Ada",)) for n in range(3)]
        outcomes = connector.settle("r", Batch("upsert", OBJECT, ("FirstName",), ops))
        assert states(outcomes or []) == ["done", "rejected", "rejected"]


def test_a_failed_request_without_results_is_decided_by_the_rows() -> None:
    outcomes = settle_with([], ["k0", "k1"], SCHEMA, stored("k0"), requestStatus="Error")
    assert outcomes == [Outcome("done"), Outcome("retry", retry_after=300.0, max_batch=1)]


@pytest.mark.parametrize("status", ["Pending", "Executing"])
def test_a_request_under_way_is_pending(status: str) -> None:
    assert settle_with([], ["k"], requestStatus=status) is None


# --------------------------------------------------------------------------- remove

def test_rows_are_removed_and_absent_ones_are_done(world: World) -> None:
    drive(world, batch_of(GOOD, GOOD, GOOD))
    ops = [Op(1, "ROW-0", None, ()), Op(2, "nobody & <co>", None, ()), Op(3, "row-2", None, ())]
    assert states(world.connector.apply(Batch("remove", OBJECT, (), ops))) == ["done"] * 3
    assert set(world.rows()) == {"row-1"}


def test_a_row_that_could_not_be_removed_is_tried_again(world: World) -> None:
    drive(world, batch_of(GOOD, GOOD))
    world.kernel.faults.add(Fault("marketing_cloud", "partial", "Delete", count=1))
    batch = Batch("remove", OBJECT, (), [Op(1, "row-0", None, ()), Op(2, "row-1", None, ())])
    assert states(world.connector.apply(batch)) == ["done", "retry"]
    assert states(world.connector.apply(batch)) == ["done", "done"]
    assert world.rows() == {}


def test_after_the_first_chunk_no_error_is_raised_any_more() -> None:
    with simulated(objects_per_call=1) as world:
        drive(world, batch_of(GOOD, GOOD, GOOD))
        ops = [Op(n, f"row-{n}", None, ()) for n in range(3)]
        served = [0]
        handle = world.sim.soap.answer

        def throttled_second(request: Request, call: Any) -> Response:
            served[0] += b"DeleteRequest" in request.body
            if served[0] == 2:
                return fault("soap:Server", "The request was throttled. Please try again later.")
            return handle(request, call)

        world.sim.soap.answer = throttled_second  # type: ignore[method-assign]  # a vendor that tires
        assert states(world.connector.apply(Batch("remove", OBJECT, (), ops))) == ["done", "retry", "retry"]


# --------------------------------------------------------------------------- create

DEFINITION = AudienceDefinition("Made & kept", "MADE_1", "SubscriberKey", "Email", (
    FieldInfo("FirstName", "text", length=50), FieldInfo("Notes", "text"), FieldInfo("Spent", "decimal"),
    FieldInfo("Born", "date"), FieldInfo("Vip", "bool"), FieldInfo("Visits", "integer"), FieldInfo("Tags", "choices")))


def creation(definition: AudienceDefinition) -> Batch:
    text = orjson.dumps(definition).decode()
    return Batch("create_object", f"de:{definition.key}", ("definition",), [Op(1, definition.key, None, (text,))])


def test_a_data_extension_is_made_sendable_by_subscriber_key_once(world: World) -> None:
    for _ in range(2):
        assert states(world.connector.apply(creation(DEFINITION))) == ["done"]
    made = world.tenant.extension(MID, "MADE_1")
    assert made is not None
    assert (made.sendable_field, made.subscriber_field, made.name) == ("SubscriberKey", "Subscriber Key", "Made & kept")
    assert [(c.name, c.type, c.length, c.primary) for c in made.columns] == [
        ("SubscriberKey", "Text", 254, True), ("Email", "EmailAddress", 254, False), ("FirstName", "Text", 50, False),
        ("Notes", "Text", None, False), ("Spent", "Decimal", 18, False), ("Born", "Date", None, False),
        ("Vip", "Boolean", None, False), ("Visits", "Number", None, False), ("Tags", "Text", None, False)]
    row = Op(1, "k", "k@mail.example", (";a;b;",))
    assert states(world.connector.apply(Batch("upsert", "de:MADE_1", ("Tags",), [row]))) == ["accepted"]


def test_a_name_taken_by_another_data_extension_is_refused(world: World) -> None:
    taken = replace(DEFINITION, name="Offers & more")
    [outcome] = world.connector.apply(creation(taken))
    assert (outcome.state, (outcome.reason or "").partition(":")[0]) == ("rejected", "not_created")
    other = replace(DEFINITION, key="OFFERS", primary_key="Email2")
    assert states(world.connector.apply(creation(other))) == ["rejected"]
