"""Consent that the Marketing Cloud connector writes: of lists, and of all mail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from connectors.errors import Misconfigured
from connectors.sim.kernel import Fault, Request, Response
from connectors.sim.marketing_cloud import people
from syncd.model import Batch, Op, Outcome
from tests.unit.marketing_cloud_lab import (
    API,
    LIST,
    OBJECT,
    Script,
    World,
    drive,
    retrieved,
    scripted,
    simulated,
    states,
    xml,
)


@pytest.fixture
def world() -> Iterator[World]:
    with simulated() as made:
        yield made


def status(container: str, wanted: str, *keys: str, create: int | None = None) -> Batch:
    return Batch("status", container, ("status", "reason", "create"),
                 [Op(n, key, f"{key}@mail.example", (wanted, "because", create)) for n, key in enumerate(keys)])


def test_an_opt_out_of_a_list_touches_nothing_else(world: World) -> None:
    assert states(world.connector.apply(status(LIST, "unsubscribed", "k0", "k3"))) == ["done", "done"]
    assert [world.on_list(k) for k in ("k0", "k1", "k3")] == ["Unsubscribed", "Active", "Unsubscribed"]
    assert {world.status(f"k{n}") for n in range(5)} == {"Active"}


def test_an_opt_out_of_everything_leaves_the_lists_alone(world: World) -> None:
    assert states(world.connector.apply(status("", "unsubscribed", "k0"))) == ["done"]
    assert (world.status("k0"), world.on_list("k0"), world.status("k1")) == ("Unsubscribed", "Active", "Active")


def test_only_an_operation_that_says_so_subscribes(world: World) -> None:
    world.connector.apply(status("", "unsubscribed", "k0"))
    world.connector.apply(status(LIST, "unsubscribed", "k0"))
    drive(world, Batch("upsert", OBJECT, ("FirstName",), [Op(1, "k0", "p0@mail.example", ("Ada",))]))
    world.connector.apply(status(LIST, "unsubscribed", "new", create=1))
    assert (world.status("k0"), world.on_list("k0")) == ("Unsubscribed", "Unsubscribed")
    assert states(world.connector.apply(status(LIST, "subscribed", "k0"))) == ["done"]
    assert (world.status("k0"), world.on_list("k0")) == ("Unsubscribed", "Active")


def test_an_unknown_subscriber_is_refused_or_created_unsubscribed(world: World) -> None:
    [outcome] = world.connector.apply(status(LIST, "unsubscribed", "new"))
    assert (outcome.state, (outcome.reason or "").partition(":")[0]) == ("rejected", "subscriber_not_found")
    outcomes = world.connector.apply(status(LIST, "unsubscribed", "k0", "new", "k1", create=1))
    assert states(outcomes) == ["done"] * 3
    assert world.on_list("new") == "Unsubscribed"
    assert states(world.connector.apply(status("", "unsubscribed", "newer", create=1))) == ["done"]
    assert world.status("newer") == "Unsubscribed"
    bare = Batch("status", LIST, ("status", "create"), [Op(1, "newest", None, ("unsubscribed", 1))])
    assert (world.connector.apply(bare)[0].reason or "").startswith("missing_email")


def test_a_bad_operation_sinks_none(world: World) -> None:
    batch = status(LIST, "unsubscribed", "k0", "k\x00", "", "k1")
    batch = replace(batch, ops=[*batch.ops, Op(9, "k2", None, ("deleted", None, None))])
    assert states(world.connector.apply(batch)) == ["done", "rejected", "rejected", "done", "rejected"]
    assert world.on_list("k2") is None


@pytest.mark.parametrize("batch", [Batch("status", "x", ("status",), ()), Batch("status", LIST, ("reason",), ()),
                                   Batch("update", "Contact", (), ())])
def test_what_makes_no_sense_is_misconfigured(world: World, batch: Batch) -> None:
    with pytest.raises(Misconfigured):
        world.connector.apply(batch)


def test_a_globally_unsubscribed_address_is_refused_by_name(world: World) -> None:
    world.sim.load({"GlobalUnsubscribe": [{"EmailAddress": "new@mail.example"}]})
    [outcome] = world.connector.apply(status(LIST, "subscribed", "new", create=1))
    assert (outcome.reason or "").startswith("on_global_unsub_list")


def test_a_lost_reply_of_an_opt_out_is_unknown(world: World) -> None:
    world.connector.check()
    world.kernel.faults.add(Fault("marketing_cloud", "reset_after", "POST /Service.asmx", count=1))
    assert states(world.connector.apply(status(LIST, "unsubscribed", "k0"))) == ["unknown"]
    assert world.on_list("k0") == "Unsubscribed"


def updated(*results: tuple[str, str]) -> Response:
    """An UpdateResponse with (ErrorCode or "", StatusMessage) for each object, in reverse order of ordinals."""
    rows = [f"<Results><StatusCode>{'Error' if code else 'OK'}</StatusCode><StatusMessage>{text}</StatusMessage>"
            f"<OrdinalID>{n}</OrdinalID>" + (f"<ErrorCode>{code}</ErrorCode>" if code else "") + "</Results>"
            for n, (code, text) in enumerate(results)]
    return xml(f'<UpdateResponse xmlns="{API}">{"".join(reversed(rows))}<OverallStatus>Has Errors</OverallStatus>'
               "</UpdateResponse>")


def applied(batch: Batch, *answers: Response | Callable[[Request], Response]) -> tuple[list[Outcome], Script]:
    with scripted() as (script, connector):
        script.answers = list(answers)
        return list(connector.apply(batch)), script


def test_results_belong_to_their_ordinals_and_a_missing_one_is_unknown() -> None:
    answer = updated(("", "fine"), ("12000", "ada@mail.example is no address"), ("77", "?"))
    outcomes, script = applied(status(LIST, "subscribed", "a", "b", "c", "d"), answer)
    assert states(outcomes) == ["done", "rejected", "rejected", "unknown"]
    assert "ada@" not in str(outcomes)
    assert script.asked[0].body.count(b"<Status>Active</Status>") == 4


def test_an_opt_out_is_never_dropped_for_an_answer_nobody_understands() -> None:
    refused = updated(("77", "?"), ("12001", "SubscriberNotFound"))
    for answer in (retrieved("<ID>4711</ID>"), Response(429, {})):
        outcomes, _ = applied(status(LIST, "unsubscribed", "a", "b"), refused, answer)
        assert outcomes[0] == Outcome("retry", "error_77")
        assert outcomes[1].state == "rejected"


def test_what_is_refused_since_the_list_is_not_there_is_told_as_that() -> None:
    with pytest.raises(Misconfigured, match=f"no list {LIST}"):
        applied(status(LIST, "unsubscribed", "a"), updated(("77", "?")), retrieved())


def test_already_on_the_list_is_decided_by_the_state() -> None:
    member = "<SubscriberKey>{}</SubscriberKey><ListID>4711</ListID><Status>{}</Status>"
    answer = updated(("12014", "on the list"), ("12014", "on the list"))
    outcomes, _ = applied(status(LIST, "unsubscribed", "a", "b"), answer,
                          retrieved(member.format("A", "Unsubscribed"), member.format("b", "Active")))
    assert states(outcomes) == ["done", "unknown"]
    outcomes, _ = applied(status(LIST, "unsubscribed", "a", "b"), answer, Response(429, {}))
    assert states(outcomes) == ["unknown", "unknown"]


@pytest.mark.parametrize(("answer", "state"), [
    (updated(("12014", "The subscriber is already on the list")), "retry"), (Response(429, {}), "retry"),
    (Response(500, "<html>"), "unknown"), (updated(("", "fine")), "done")])
def test_a_creation_that_fails_does_not_undo_the_updates_before_it(answer: Response, state: str) -> None:
    outcomes, script = applied(status(LIST, "unsubscribed", "a", "b", create=1),
                               updated(("", "fine"), ("12001", "SubscriberNotFound")), answer)
    assert states(outcomes) == ["done", state]
    assert b"<SubscriberKey>a<" not in script.asked[1].body
    assert b"<EmailAddress>b@mail.example</EmailAddress>" in script.asked[1].body


def test_a_master_opt_out_of_an_enterprise_reaches_the_unit(world: World) -> None:
    """The scope is the vendor's to decide; the connector writes in its own business unit only."""
    subscriber = world.tenant.find("k0")
    assert subscriber is not None
    world.connector.apply(status("", "unsubscribed", "k0"))
    assert subscriber.status == "Active", "BUSINESS_UNIT_ONLY: the enterprise's row stays"
    assert [e.reason for e in world.tenant.changes] == [people.BY_API]
