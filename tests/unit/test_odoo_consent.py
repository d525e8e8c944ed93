"""Consent at Odoo, both ways: the blacklist and the mailing lists, by address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.errors import Misconfigured, Outage, Retry, Throttled
from connectors.sim.odoo.people import OBJECTS
from connectors.sim.odoo.write import update
from connectors.wrappers import OneSpelling
from syncd import normalise
from syncd.model import DONE, Batch, Op, Outcome, Value
from tests.unit.odoo_lab import Lab, odoo

PUBLIC = 4
"""The website's user, by whom recipients act."""


@pytest.fixture(params=["16.0", "18.0", "19.0"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with odoo(request.param) as lab:
        yield lab


@pytest.fixture
def lab18() -> Iterator[Lab]:
    with odoo() as lab:
        yield lab


def contacts(lab: Lab, *addresses: str) -> None:
    """A mailing contact for each address, on the list "offers" by a many2many command: rows without dates."""
    model = "mailing.subscription" if lab.sim.major >= 17 else "mailing.contact.subscription"
    lab.sim.load({"mailing.contact": [{"id": n, "name": a, "email": a} for n, a in enumerate(addresses, 1)],
                  model: [{"id": n, "contact_id": n, "list_id": 7, "write_date": None, "write_uid": None,
                           "create_date": None, "create_uid": None} for n, _ in enumerate(addresses, 1)]})


def mailed(lab: Lab, topic: str = "offers") -> list[str]:
    """Whom Odoo itself would mail."""
    addresses: list[str] = lab.act("esp_user", "send", to={"topic": topic})["mailed"]
    return addresses


# --------------------------------------------------------------------------- reading

def test_rows_without_dates_are_subscribed_and_seen(lab: Lab) -> None:
    contacts(lab, "a@x.test", "B@X.test", "no address")
    assert lab.statuses("7") == {"a@x.test": ("subscribed", "unknown"), "b@x.test": ("subscribed", "unknown")}


def test_an_unsubscribe_is_the_persons_and_dated(lab: Lab) -> None:
    contacts(lab, "a@x.test", "b@x.test")
    [_, spec] = lab.connector.feeds(["7"])
    lab.quiet()
    cursor = lab.read(spec)[1]
    lab.quiet()
    at = lab.sim.clock.now()
    lab.act("recipient", "unsubscribe", email="a@x.test", **{"from": {"topic": "offers"}})
    rows = {r["key"]: r for r in lab.read(spec, cursor)[0]}
    assert (rows["a@x.test"]["status"], rows["a@x.test"]["origin"]) == ("unsubscribed", "person")
    assert abs(int(str(rows["a@x.test"]["at"])) / 1e6 - at) < 5
    assert str(rows["a@x.test"]["evidence"]).endswith("subscription/1")


def test_one_opted_out_contact_of_an_address_opts_the_address_out(lab: Lab) -> None:
    contacts(lab, "a@x.test", "A@x.test")
    [_, spec] = lab.connector.feeds(["7"])
    lab.quiet()
    cursor = lab.read(spec)[1]
    model = str(lab.connector._statuses.subscription)
    lab.sim.load({model: [{"id": 2, "contact_id": 2, "list_id": 7, "opt_out": True, "write_uid": 2}]})
    [row] = lab.read(spec, cursor)[0]
    assert (row["key"], row["status"], row["origin"]) == ("a@x.test", "unsubscribed", "user")
    assert [r[3] for r in lab.connector.fetch(spec, ["A@X.test", "nobody@x.test", "junk"]).rows] == ["unsubscribed"]


def test_a_contact_that_changes_its_address_is_read_again(lab: Lab) -> None:
    contacts(lab, "a@x.test")
    [_, spec] = lab.connector.feeds(["7"])
    lab.quiet()
    cursor = lab.read(spec)[1]
    lab.quiet()
    cursor = lab.read(spec, cursor)[1]
    lab.quiet()
    assert lab.read(spec, cursor)[0] == []
    lab.act("crm_user", "edit", object="mailing.contact", id="1", set={"email": "new@x.test"})
    assert [(r["key"], r["status"]) for r in lab.read(spec, cursor)[0]] == [("new@x.test", "subscribed")]


def test_the_blacklist_tells_who_and_archived_rows_are_no_block(lab: Lab) -> None:
    for address, opted_out in (("a@x.test", True), ("b@x.test", False)):
        lab.act("recipient", "unsubscribe", email=address, **{"from": "all"})
        if not opted_out:
            lab.act("crm_user", "form", object="mailing.contact", set={"name": "B", "email": address})
            lab.act("crm_user", "edit", object="mailing.contact", where={"email": address}, set={"opted_out": False})
    lab.sim.load({"mail.blacklist": [{"id": 90, "email": "c@x.test", "write_uid": 2, "create_uid": 2}]})
    assert lab.statuses("") == {"a@x.test": ("unsubscribed", "person"), "b@x.test": ("subscribed", "user"),
                                "c@x.test": ("unsubscribed", "user")}


def test_bounces_are_told_from_wishes_only_when_sure(lab: Lab) -> None:
    for _ in range(5):
        lab.act("recipient", "bounce", email="b@x.test", kind="hard")
        lab.quiet(3 * 86_400)
    lab.act("recipient", "bounce", email="c@x.test", kind="hard")
    # The same account's row, with fewer bounces than Odoo wants: somebody's automation, perhaps on a person's behalf.
    lab.sim.load({"mail.blacklist": [{"id": 90, "email": "c@x.test", "write_uid": 1, "create_uid": 1}]})
    assert lab.statuses("") == {"b@x.test": ("held", "bounce"), "c@x.test": ("unsubscribed", "api")}


# --------------------------------------------------------------------------- writing

def test_blocking_reactivates_and_is_seen_as_our_own(lab: Lab) -> None:
    lab.sim.load({"mail.blacklist": [{"id": 1, "email": "old@x.test", "active": False},
                                     {"id": 2, "email": "held@x.test", "write_uid": 2, "create_uid": PUBLIC},
                                     {"id": 3, "email": "back@x.test", "active": False, "create_uid": PUBLIC}]})
    contacts(lab, "old@x.test", "new@x.test", "held@x.test", "back@x.test", "free@x.test")
    outcomes = lab.status("", "unsubscribed", "new@x.test", "OLD@x.test", "held@x.test", "back@x.test", "junk")
    assert [o.state for o in outcomes] == ["done", "done", "done", "done", "rejected"]
    assert mailed(lab) == ["free@x.test"]
    found = lab.statuses("")
    assert found["new@x.test"] == found["old@x.test"] == found["back@x.test"] == ("unsubscribed", "self")
    assert found["held@x.test"] == ("unsubscribed", "person")  # hers before, and still
    assert [o.state for o in lab.status("", "subscribed", "new@x.test", "nobody@x.test")] == ["done", "done"]
    assert mailed(lab) == ["free@x.test", "new@x.test"]


def test_a_block_that_somebody_archives_meanwhile_is_sent_again(lab18: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = lab18.connector.wire
    create = wire.call

    def call(model: str, method: str, *args: Any, **named: Any) -> Any:
        if (model, method) == ("mail.blacklist", "create"):
            lab18.sim.load({"mail.blacklist": [{"id": 1, "email": "a@x.test", "active": False}]})
        return create(model, method, *args, **named)

    monkeypatch.setattr(wire, "call", call)
    assert [o.state for o in lab18.status("", "unsubscribed", "a@x.test", "b@x.test")] == ["retry", "done"]
    assert [o.state for o in lab18.status("", "unsubscribed", "a@x.test")] == ["done"]
    assert lab18.statuses("")["a@x.test"][0] == "unsubscribed"


def test_an_opt_out_reaches_every_contact_of_the_address(lab: Lab) -> None:
    contacts(lab, "a@x.test", "A@X.test", "b@x.test")
    lab.sim.load({"mailing.contact": [{"id": 9, "name": "third", "email": "a@x.test"}]})
    assert [o.state for o in lab.status("7", "unsubscribed", "a@x.test", "stranger@x.test")] == ["done", "done"]
    assert mailed(lab) == ["b@x.test"]
    # Joining the list later, by any contact of the address, changes nothing.
    lab.act("crm_user", "edit", object="mailing.contact", id="9", set={"list_ids": [[4, 7]]})
    assert mailed(lab) == ["b@x.test"]
    assert lab.statuses("7") == {"a@x.test": ("unsubscribed", "self"), "stranger@x.test": ("unsubscribed", "self"),
                                 "b@x.test": ("subscribed", "unknown")}
    assert [o.state for o in lab.status("7", "subscribed", "a@x.test")] == ["done"]
    assert mailed(lab) == ["a@x.test", "b@x.test"]


def test_writing_what_is_already_so_writes_nothing(lab18: Lab) -> None:
    contacts(lab18, "a@x.test")
    for container in ("", "7"):
        lab18.status(container, "unsubscribed", "a@x.test")
        lab18.calls()
        assert [o.state for o in lab18.status(container, "unsubscribed", "a@x.test")] == ["done"]
        assert not {route for route in lab18.calls() if route.endswith((".write", ".create"))}


def test_a_missing_list_refuses_all_at_once(lab18: Lab) -> None:
    lab18.connector.check()
    lab18.calls()
    with pytest.raises(Misconfigured, match="no mailing list 77"):
        lab18.status("77", "unsubscribed", *(f"p{n}@x.test" for n in range(50)))
    assert sum(lab18.calls().values()) == 1


def test_odd_addresses_are_blocked_as_odoo_spells_them(lab18: Lab) -> None:
    odd = ["Plus+Tag@X.test", "o'hara@x.test", "É.Ünlü@X.test"]
    contacts(lab18, *odd)
    assert {o.state for o in lab18.status("", "unsubscribed", *odd)} == {"done"}
    assert mailed(lab18) == []


def test_a_mailbox_that_odoo_has_in_another_spelling_is_blocked_and_freed_there(lab18: Lab) -> None:
    """syncd knows addresses in lower case, their domains in ASCII. Odoo keeps capitals beside letters beyond ASCII, and a
    domain as it was written, and mails whoever is blocked in one spelling in the other."""
    ours = ["é.ünlü%_@x.test", "ann@xn--bcher-kva.example", "jörg@xn--strae-oqa.example", "tom@x.test"]
    theirs = ["É.Ünlü%_@X.test", "ann@bücher.example", "Jörg@straße.example", "tom@x.test"]
    contacts(lab18, *theirs, "É.Ünlü__@x.test")
    for container in ("", "7"):
        spec = next(f for f in lab18.connector.feeds(["7"]) if (f.container or "") == container)
        assert len(mailed(lab18)) == 5
        assert {o.state for o in lab18.status(container, "unsubscribed", *ours)} == {"done"}
        assert mailed(lab18) == ["É.Ünlü__@x.test"]
        blocked = {r[1] for r in lab18.connector.fetch(spec, ours).rows if r[3] == "unsubscribed"}
        assert blocked >= {"É.Ünlü%_@x.test", "ann@bücher.example", "Jörg@straße.example", "tom@x.test"}
        assert {o.state for o in lab18.status(container, "subscribed", *ours)} == {"done"}
    assert len(mailed(lab18)) == 5
    assert len(lab18.sim.db.tables["mailing.contact"].rows) == 5


def test_statuses_are_told_under_the_one_spelling_that_the_state_knows_and_a_refusal_wins(lab: Lab) -> None:
    contacts(lab, "É@x.test", "é@x.test", "ann@bücher.example")
    lab.sim.load({"mail.blacklist": [{"id": 1, "email": "É@x.test", "active": True},
                                     {"id": 2, "email": "é@x.test", "active": False},
                                     {"id": 3, "email": "ann@bücher.example", "active": True}]})
    wrapped = OneSpelling(lab.connector, normalise.email)
    specs = {f.container or "": f for f in wrapped.feeds(["7"]) if f.kind == "status"}

    def told(container: str, cursor: str | None) -> tuple[dict[Value, Value], str]:
        pages = list(wrapped.changes(specs[container], cursor))
        return {row[1]: row[3] for page in pages for row in page.rows}, pages[-1].cursor

    lab.act("recipient", "unsubscribe", email="É@x.test", **{"from": {"topic": "offers"}})
    for container, hers in (("", "unsubscribed"), ("7", "subscribed")):
        lab.quiet()
        known, cursor = told(container, None)
        assert known == {"é@x.test": "unsubscribed", "ann@xn--bcher-kva.example": hers}
        lab.quiet()
        cursor = told(container, cursor)[1]
        lab.quiet()
        lab.act("crm_user", "edit", object="mailing.contact", id="2", set={"name": "Other"})
        lab.sim.run(2, lambda env: update(env, "mail.blacklist", 2, {"active": False}))
        assert told(container, cursor)[0] == {"é@x.test": "unsubscribed"}, "the other spelling changed"
        rows = wrapped.fetch(specs[container], ["é@x.test", "ann@xn--bcher-kva.example"]).rows
        assert [(row[1], row[3]) for row in rows] == list(known.items())


# --------------------------------------------------------------------------- updates

def updates(lab: Lab, column: str, values: list[Any], first: int = 1) -> list[Outcome]:
    ops = [Op(n, str(n), None, (value,)) for n, value in enumerate(values, first)]
    return list(lab.connector.apply(Batch("update", "res.partner", (column,), ops)))


def people(lab: Lab, count: int) -> None:
    lab.sim.load({"res.partner": [{"id": n, "name": f"P {n}"} for n in range(1, count + 1)]})


def test_identical_values_go_in_one_call(lab: Lab) -> None:
    people(lab, 200)
    lab.connector.describe(["res.partner"])
    lab.calls()
    assert {o.state for o in updates(lab, "function", ["CTO", "CEO"] * 100)} == {"done"}
    assert lab.calls().get("res.partner.write") == 2


def test_a_bad_record_is_found_by_halving(lab18: Lab) -> None:
    people(lab18, 64)
    lab18.connector.describe(["res.partner"])
    lab18.sim.run(1, lambda env: env.db.put("res.partner", 50, None))
    lab18.calls()
    outcomes = updates(lab18, "function", ["CTO"] * 64)
    assert [n for n, o in enumerate(outcomes, 1) if o.state != "done"] == [50]
    assert outcomes[49].reason == "odoo.exceptions.MissingError: The record does not exist any more."
    assert lab18.calls()["res.partner.write"] <= 2 * 6 + 1
    assert lab18.sim.db.tables["res.partner"].rows[51]["function"] == "CTO"


def test_values_are_written_in_odoos_types(lab18: Lab) -> None:
    people(lab18, 1)
    lab18.sim.load({"res.partner.category": [{"id": 3, "name": "VIP"}, {"id": 4, "name": "New", "active": False}]})
    for column, value, stored in (
            ("is_company", 1, True), ("color", 7, 7), ("country_id", "20", 20), ("category_id", ";New;VIP;", (3, 4)),
            ("type", "other", "other"), ("function", None, None), ("category_id", None, None)):
        assert [o.state for o in updates(lab18, column, [value])] == ["done"]
        assert lab18.sim.db.tables["res.partner"].rows[1].get(column) == stored
    for column, value in (("category_id", ";Nope;"), ("type", "zzz"), ("country_id", "4711"), ("color", "x")):
        [outcome] = updates(lab18, column, [value])
        assert outcome.state == "rejected"
        assert "Nope" not in str(outcome.reason)


def test_a_lost_reply_stops_the_batch_and_was_applied(lab: Lab) -> None:
    people(lab, 3)
    lab.connector.describe(["res.partner"])
    lab.fault("reset_after", route="res.partner.write", count=1)
    assert [o.state for o in updates(lab, "function", ["A", "B", "A"])] == ["unknown", "retry", "unknown"]
    assert lab.sim.db.tables["res.partner"].rows[3]["function"] == "A"


def test_what_was_written_before_a_failure_is_not_forgotten(lab18: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    people(lab18, 3)
    failures = iter([None, Throttled("later", retry_after=9.0)])
    write = lab18.connector.wire.write

    def failing(*args: Any) -> None:
        error = next(failures)
        if error is not None:
            raise error
        write(*args)

    monkeypatch.setattr(lab18.connector.wire, "write", failing)
    assert updates(lab18, "function", ["A", "B", "C"]) == [
        Outcome("done"), Outcome("retry", retry_after=9.0), Outcome("retry", retry_after=9.0)]


@pytest.mark.parametrize("error", [Retry("x"), Throttled("x"), Outage("x")])
def test_a_failure_before_anything_was_written_is_raised(lab18: Lab, monkeypatch: pytest.MonkeyPatch,
                                                         error: Exception) -> None:
    people(lab18, 1)

    def failing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(lab18.connector.wire, "write", failing)
    with pytest.raises(type(error)):
        updates(lab18, "function", ["A"])


def test_a_serialization_failure_is_retryable_and_rolled_back(lab: Lab) -> None:
    people(lab, 1)
    lab.fault("partial", route="res.partner.write", count=1)
    with pytest.raises(Retry):
        updates(lab, "function", ["A"])
    assert "function" not in lab.sim.db.tables["res.partner"].rows[1]
    assert [o.state for o in updates(lab, "function", ["A"])] == ["done"]


def test_nothing_is_mailed_that_the_simulator_calls_blocked(lab18: Lab) -> None:
    """The truth told to the control API agrees with what the connector reads."""
    contacts(lab18, "a@x.test", "b@x.test")
    lab18.status("", "unsubscribed", "a@x.test")
    lab18.status("7", "unsubscribed", "b@x.test")
    people = {p["email"]: p for p in lab18.sim.world()["people"] if p["object"] in OBJECTS}
    assert (people["a@x.test"]["opted_out"], people["b@x.test"]["opted_out"]) == (True, False)
    assert (people["a@x.test"]["topics"]["offers"], people["b@x.test"]["topics"]["offers"]) == (True, False)
    assert mailed(lab18) == []


# --------------------------------------------------------------------------- reasons

@pytest.mark.parametrize("version", ["16.0", "18.0"])
def test_our_opt_outs_bear_the_configured_reason_where_the_server_keeps_reasons(version: str) -> None:
    with odoo(version, {"opt_out_reason": 4}) as lab:
        contacts(lab, "a@x.test", "b@x.test")
        assert lab.status("7", "unsubscribed", "a@x.test", "new@x.test") == [DONE, DONE]
        assert lab.status("", "unsubscribed", "b@x.test") == [DONE]
        table = "mailing.subscription" if lab.sim.major >= 17 else "mailing.contact.subscription"
        reasons = [row.get("opt_out_reason_id") for model in (table, "mail.blacklist")
                   for row in lab.sim.db.tables[model].rows.values() if row.get("opt_out") or model == "mail.blacklist"]
        assert reasons == ([4, 4, 4] if lab.sim.major >= 17 else [None, None, None])
