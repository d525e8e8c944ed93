"""The express way: a webhook's opt-out passes a cycle that is under way, grants nothing, and leaves the rest to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.system.acceptance_lab import MC
from tests.system.web_lab import PATIENCE, Running, unsubscribes

PEOPLE = 200
TIPS = "4713"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("express"), PEOPLE) as found:
        found.company.send("tips")
        found.start()
        yield found
        found.stop()


def test_an_opt_out_passes_a_cycle_that_still_reads_and_nothing_else_does(running: Running) -> None:
    leaver, stayer = running.couples(2)
    contact = next(p for side, p in running.records()[leaver] if side == "salesforce")
    # She also gets another name, which wants to be written to her rows: a harmless change, but not one for this way.
    running.company.user("salesforce", "edit", object=contact["object"], id=contact["id"], set={"FirstName": "Changed"})
    running.company.fault("salesforce", "latency", route="query", seconds=PATIENCE)
    cycle = threading.Thread(target=running.ask, args=("once",))
    before = running.state("SELECT max(id) FROM run")[0][0]
    cycle.start()
    running.until(lambda: running.state("SELECT max(id) FROM run")[0][0] > before)
    assert running.post.send(unsubscribes([running.numbers[leaver]], TIPS)) == 204
    running.until(lambda: running.carried({leaver}))
    assert cycle.is_alive(), "the cycle ended before: nothing was passed"
    assert running.state("SELECT DISTINCT o.class FROM operation o JOIN run r ON r.id = o.run"
                         " WHERE r.trigger = 'webhook'") == [(0,)]
    assert running.state("SELECT count(*) FROM dirty")[0][0] > 0  # the cycle does the rest
    running.company.clear_faults()
    cycle.join()
    rows = {row["email"].lower(): row for row in running.company.world(MC)["audiences"]["news"]["rows"]}
    assert running.ask("once")["delivered"]["mc_main"]["left"] == 0
    assert leaver not in rows or rows[leaver]["values"]["FirstName"] == "Changed"
    assert stayer not in running.refusing("salesforce")
    running.until(lambda: running.quiet_after(lambda: running.ask("once")))


def test_all_webhooks_dropped_the_next_poll_finds_every_one(running: Running) -> None:
    for subscription in running.company.box.marketing_cloud.ens.subscriptions.values():
        subscription.status = "paused"  # what happens meanwhile is never delivered
    sent = running.company.send("tips")
    leavers = {e.lower() for e in sent["mailed"]} & set(running.stayers(40))
    assert len(leavers) >= 20
    for leaver in leavers:
        running.company.recipient("unsubscribe", leaver, {"mail": sent["id"]})
    assert running.state("SELECT count(*) FROM inbox WHERE resolved_at IS NULL") == [(0,)]
    assert not running.carried(leavers)
    running.ask("once")
    assert running.carried(leavers)


def test_a_vendor_that_is_away_delays_nothing_but_itself(running: Running) -> None:
    """Odoo is down: Salesforce and the audience have the opt-out at once, Odoo when it is back, without a cycle."""
    [leaver] = running.couples(1)
    running.company.fault("odoo", "http_500")
    assert running.post.send(unsubscribes([running.numbers[leaver]], TIPS)) == 204
    running.until(lambda: running.lacking({leaver}) == {("odoo", leaver)})
    running.company.clear_faults()
    cycles = len(running.events("cycle_ended"))
    running.until(lambda: running.carried({leaver}))
    assert len(running.events("cycle_ended")) == cycles


def test_after_a_restart_an_opt_out_does_not_wait_for_the_first_cycle(running: Running) -> None:
    running.stop()
    [leaver] = running.couples(1)
    running.company.fault("salesforce", "latency", route="query", seconds=6.0)
    cycles = len(running.events("cycle_ended"))
    running.start(cycles=0)
    body = unsubscribes([running.numbers[leaver]], TIPS)
    running.until(lambda: running.post.send(body) == 204)
    running.until(lambda: not running.lacking({leaver}) - {("salesforce", leaver)})
    assert len(running.events("cycle_ended")) == cycles, "the cycle ended before: nothing was passed"
    running.company.clear_faults()
    running.until(lambda: running.carried({leaver}))
