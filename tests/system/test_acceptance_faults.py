"""Whatever breaks on the way, the world ends up as if nothing had: two companies of the same people, one disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import acceptance_world as naive
from tests.system.acceptance_lab import DISTURBED, MC, SIDES, Company
from tests.system.acceptance_world import Json

PEOPLE = 400
SOON = 4.0
"""Seconds a cycle waits for a queue that is moved on by the clock, not by waiting."""
ROUNDS = 12
"""Cycles within which everything must have settled once the faults are over."""


class Twins:
    """``calm`` is never disturbed; both live through the same events."""

    def __init__(self, calm: Company, other: Company) -> None:
        self.calm, self.other = calm, other

    def both(self) -> Iterator[Company]:
        yield from (self.calm, self.other)

    def settle(self) -> None:
        """Cycles until nothing is left to do."""
        for company in self.both():
            for _ in range(ROUNDS):
                report = company.ask("once", deadline=SOON)
                settled = not report["failed"] and not any(
                    "error" in d or d["left"] for d in report["delivered"].values())
                if settled and not sum(d.get("done", 0) for d in report["delivered"].values()):
                    break
                company.advance(61)
            else:
                raise AssertionError(report)

    def same(self) -> None:
        """Nothing that matters differs between the two worlds."""
        calm, other = _world(self.calm), _world(self.other)
        for name in calm:
            assert {k: v for k, v in calm[name].items() if other[name].get(k) != v} == {}, name
            assert other[name].keys() == calm[name].keys(), name


def _world(company: Company) -> dict[str, dict[Any, Any]]:
    """Rows, statuses and flags by their keys; times left out."""
    found: dict[str, dict[Any, Any]] = {}
    mc = company.world(MC)
    for name, audience in mc["audiences"].items():
        found[name] = {r["key"]: r for r in audience["rows"]}
    found["subscribers"] = {(s["key"], s["bu"]): (s["email"], s["status"], s["topics"]) for s in mc["subscribers"]}
    for side in SIDES[:2]:
        found[side] = {(p["object"], p["id"]): (p["opted_out"], p["topics"], p["deleted"])
                       for p in company.world(side)["people"]}
    return found


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with Company(tmp_path_factory.mktemp("calm"), PEOPLE) as calm, \
            Company(tmp_path_factory.mktemp("disturbed"), PEOPLE) as other:
        yield Twins(calm, other)


def test_first_synchronisation(twins: Twins) -> None:
    """Faults on every side, of every kind, before the plan and again before it is carried out."""
    twins.calm.link()
    company = twins.other
    for side in SIDES:
        for fault, how in DISTURBED:
            company.fault(side, fault, **how)
    plan: Json = {}
    for _ in range(ROUNDS):
        plan = company.cli("plan", exits=(4, 7))
        if plan.get("plan") is not None and not plan["failed"]:
            break
        company.advance(61)
    assert not any(company.written().values())
    for fault, how in DISTURBED:
        company.fault(MC, fault, **how)
    company.fault(MC, "slow_queue", seconds=300, count=3)
    for _ in range(ROUNDS):
        done = company.cli("apply", plan["plan"]["id"], "--deadline", str(SOON), exits=(0, 2, 3, 7))
        if "error" not in done:
            break
        company.advance(61)
    twins.settle()
    twins.same()


@pytest.mark.parametrize(("side", "fault", "how"), [
    *((side, *each) for side in SIDES for each in (*DISTURBED, ("empty_list", {"count": 1}))),
    (MC, "slow_queue", {"seconds": 120})])
def test_changes_under_a_fault(twins: Twins, side: str, fault: str, how: dict[str, Any]) -> None:
    """Somebody leaves, somebody moves, somebody joins, while one thing breaks."""
    wanted = twins.calm.wanted()
    tips = [(e, p) for e, p in sorted(wanted.rows["tips"].items()) if p.records[0]["source"] == "sf.Contact" and p.keys]
    leaver, mover = tips[len(tips) // 3][0], tips[0][1]
    country = "Belgium" if mover.first("country") != "Belgium" else "France"
    twins.other.fault(side, fault, **how)
    for company in twins.both():
        assert company.recipient("unsubscribe", leaver, {"topic": "tips"}) == 1
        company.user("salesforce", "edit", object="Contact", id=mover.records[0]["id"], set={"MailingCountry": country})
        company.user("odoo", "create", object="res.partner", set={
            "name": "New Here", "email": f"{side}.{fault}.{len(how)}@post.example"})
        company.ask("once", deadline=SOON)
    twins.other.clear_faults()
    twins.settle()
    twins.same()
    assert leaver not in {naive.address(e) for e in twins.other.send("tips")["mailed"]}
    twins.calm.send("tips")


@pytest.mark.parametrize("field", ["HasOptedOutOfEmail", "Offers_Opt_In__c"])
def test_hidden_consent_field(twins: Twins, field: str) -> None:
    """A consent field that can no longer be read stops the stream, in words; nobody is thought to have opted in or out."""
    company = twins.other
    before = _world(company)
    company.fault("salesforce", "drop_field", object="Contact", field=field)
    company.stop()
    company.cli("once", exits=(2, 3, 6, 7))
    assert _world(company) == before
    company.clear_faults()
    twins.settle()
    twins.same()


def test_hours_that_pass_between_two_commands(tmp_path: Path) -> None:
    """Whoever plays with the sandbox's clock: a new process knows its time before it asks how old its reading is."""
    with Company(tmp_path, 60) as company:
        company.link()
        company.cli("once")
        company.advance(5 * 3_600)
        company.user("odoo", "create", object="res.partner", set={"name": "New Here", "email": "new.here@post.example"})
        company.cli("once")
        assert "new.here@post.example" in company.audiences()["tips"]
