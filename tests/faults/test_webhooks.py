"""What was acknowledged is never lost: kill -9 anywhere between a delivery and the last write, and the loss of the state.

The opt-outs exist in these deliveries alone: Marketing Cloud's simulator knows nothing of them, so polling cannot help.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from syncd.cli import main
from tests.system.acceptance_lab import MC
from tests.system.web_lab import Running, unsubscribes

PEOPLE, LEAVERS, EACH = 1_800, 1_000, 10
TIPS = "4713"
POINTS = ("received:4", "committed:3", "answered:3", "looked_up:2", "resolved:3", "suppressed:2", "sealed:4", "sent:2",
          "sent:5", "recorded:3", "committed:9")


FEW = 300


@pytest.fixture
def company(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    with Running(tmp_path, getattr(request, "param", FEW)) as found:
        found.company.send("tips")  # makes subscribers of those in the audience
        found.company.cycle()
        found.company.stop()
        yield found


@pytest.mark.parametrize("company", [PEOPLE], indirect=True)
def test_kill_anywhere_between_receipt_and_fan_out_loses_none_of_a_thousand(company: Running) -> None:
    leavers = company.stayers(LEAVERS)
    numbers = company.numbers
    todo = [unsubscribes([numbers[e] for e in leavers[start:start + EACH]], TIPS, job=1_000_000 + start)
            for start in range(0, LEAVERS, EACH)]
    acknowledged: set[bytes] = set()

    def send(bodies: list[bytes]) -> None:
        for body in bodies:
            if not company.died() and company.post.send(body) == 204:
                acknowledged.add(body)

    size = len(todo) // len(POINTS)
    for number, point in enumerate(POINTS):
        company.start(point)
        send([body for body in todo[:(number + 1) * size] if body not in acknowledged])
        company.until(company.died)
        assert company.state("SELECT count(*) FROM inbox")[0][0] >= len(acknowledged), point
    company.start()

    def all_taken() -> bool:
        """A busy machine may be too late for one: then it is sent again, as the vendor does."""
        send([body for body in todo if body not in acknowledged])
        return acknowledged == set(todo)
    company.until(all_taken)
    company.until(lambda: company.carried(set(leavers)), every=1.0)
    company.until(lambda: company.state("SELECT count(*) FROM inbox WHERE resolved_at IS NULL") == [(0,)])
    company.stop()
    assert company.state("SELECT count(*), count(notices) FROM inbox") == [(len(todo), 0)]
    # A key that is an address is not journalled: what a kill left to the journal's end has come back by its address alone.
    who = "coalesce(key, 'address ' || address)"
    assert company.state(f"SELECT count(DISTINCT {who}), count(*) FROM entry WHERE evidence = 'ens_unsubscribe'") == [
        (LEAVERS, LEAVERS)]
    company.company.cli("consent", "verify")


def test_loss_of_the_state_with_the_journal_kept_loses_nothing_that_was_acknowledged(company: Running) -> None:
    """One delivery is resolved before the loss, one is only stored: both were acknowledged after the last backup."""
    backup = company.log.with_name("backup.db")
    company.company.cli("backup", str(backup))
    first, second = company.stayers(40)[:20], company.stayers(40)[20:]
    numbers = company.numbers
    company.start()
    assert company.post.send(unsubscribes([numbers[e] for e in first], TIPS)) == 204
    company.until(lambda: company.carried(set(first)), every=1.0)
    company.company.fault(MC, "http_500", route="retrieve")
    assert company.post.send(unsubscribes([numbers[e] for e in second], TIPS)) == 204
    company.kill()
    assert company.state("SELECT count(*) FROM inbox WHERE resolved_at IS NULL") == [(1,)]
    company.company.clear_faults()

    for path in company.config.state.parent.glob("syncd.db*"):
        path.unlink()
    restored = CliRunner().invoke(main, ["--config", str(company.config_path), "restore", str(backup), "--yes", "--json"])
    assert restored.exit_code == 0, restored.output
    assert company.state("SELECT count(*) FROM inbox") == [(2,)]
    assert company.state("SELECT count(*) FROM inbox WHERE resolved_at IS NULL") == [(1,)]
    company.start()
    company.until(lambda: company.carried({*first, *second}), every=1.0)
    assert company.post.send(unsubscribes([numbers[e] for e in second], TIPS)) == 204
    assert company.state("SELECT count(*) FROM entry WHERE evidence = 'ens_unsubscribe'") == [(40,)]
    company.stop()


def test_the_end_of_the_journal_gives_back_what_a_state_lacks(company: Running) -> None:
    """The machine went down between the journal's fsync and the state's commit."""
    leaver = company.stayers(1)[0]
    journal = company.config.journal
    with journal.open("ab") as stream:
        stream.write(b'{"inbox":["mc_main","00112233",%d,[["unsubscribe",%d,"4713","7","%d",null,null,"ens_unsubscribe",'
                     b'null]]]}\n' % (1_800_000_000_000_000, 1_795_000_000_000_000, company.numbers[leaver]))
    company.start()
    company.until(lambda: company.carried({leaver}), every=1.0)
    company.stop()
