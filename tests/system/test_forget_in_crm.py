"""``syncd forget --also-crm``: what becomes of the records in the CRMs, and what is told where a right is missing."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.acceptance_lab import ROOT
from tests.system.consent_lab import Company, linked


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with linked(tmp_path_factory.mktemp("erase"), seed=4) as made:
        yield made


def individual(made: Company, number: int) -> dict[str, Any]:
    return dict(made.sim.db.tables["Individual"].rows[made.party(number)])


def contact(made: Company, number: int) -> dict[str, Any]:
    return next(dict(p) for p in made.sim.world(None, None)["people"] if p["email"] == f"p{number}@x.example")


def forget(made: Company, number: int, *words: str, exit: int = 0) -> Any:
    return made.ask("forget", "--also-crm", "sf", *words, "-", input=f"p{number}@x.example\n", exit=exit)


def test_the_individual_is_marked_and_the_record_stays(company: Company) -> None:
    assert company.ask("forget", "--preview", "-", input="p1@x.example\n")["records"][0]["does"] is None
    record, = forget(company, 1, "--preview")["records"]
    assert record["does"] == "marks the Individual it points to as to be forgotten (ShouldForget)"
    assert "ShouldForget" not in individual(company, 1), "a preview writes nothing"
    receipt = forget(company, 1, "--yes")
    assert (receipt["done"], receipt["crms"], receipt["left_alone"]) == (True, {"sf": {"mark": 1}}, [])
    assert individual(company, 1)["ShouldForget"]
    assert not contact(company, 1)["deleted"]
    assert "p1@" not in str(receipt)
    company.once()
    assert 1 not in company.mailed()["OFFERS"]


def test_records_are_deleted_only_where_that_is_said(company: Company) -> None:
    assert company.run("forget", "--delete", "-", "--yes", input="p2@x.example\n").exit_code == 2
    refused = company.run("forget", "--also-crm", "sf", "--delete", "-", input="p2@x.example\n")
    assert refused.exit_code == 2, "nobody confirmed"
    assert "and deletes it" in refused.stderr
    assert not contact(company, 2)["deleted"]
    assert forget(company, 2, "--yes", "--delete")["crms"] == {"sf": {"delete": 1}}
    assert contact(company, 2)["deleted"]
    assert individual(company, 2)["ShouldForget"]
    company.once()
    assert company.ask("status")["erasures"] == []


def test_who_cannot_be_marked_is_named_for_the_hand(company: Company) -> None:
    receipt = forget(company, 12, "--yes", exit=3)
    assert [(p["connection"], p["error"]) for p in receipt["refused"]] == [("sf", "NO_INDIVIDUAL")]
    assert company.ask("forget", "--also-crm", "nowhere", "--yes", "-", input="p3@x.example\n", exit=2)["error"]
    assert company.ask("forget", "--also-crm", "mc", "--yes", "-", input="p3@x.example\n", exit=2)["error"]
    assert "p3" in str(company.ask("explain", "-", input="p3@x.example\n")), "nothing was begun"


def test_a_right_that_is_missing_is_told_and_asked_for_again(company: Company) -> None:
    company.sim.options.read_only_fields = {"Individual": ["ShouldForget"]}
    refused = company.run("forget", "--also-crm", "sf", "--yes", "-", input="p4@x.example\n")
    assert refused.exit_code == 3
    assert "sf: 1 records, INVALID_FIELD_FOR_INSERT_UPDATE; erase them by hand, or give" in refused.stdout
    company.sim.options.read_only_fields = {}
    assert forget(company, 4, "--yes")["crms"] == {"sf": {"mark": 1}}
    assert individual(company, 4)["ShouldForget"]


def test_killed_before_the_crm_was_asked_it_goes_on(company: Company) -> None:
    killed = subprocess.run([*company.command("forget", "--also-crm", "sf", "--yes", "-")], cwd=ROOT, input="p5@x.example\n",
                            text=True, capture_output=True, timeout=120, check=False,
                            env={"PATH": "/usr/bin:/bin", "SYNCD_FAILPOINT": "forget_files:1"})
    assert killed.returncode == -signal.SIGKILL
    assert [p["connection"] for e in company.ask("status")["erasures"] for p in e["providers"]] == ["mc", "sf"]
    company.once()
    assert individual(company, 5)["ShouldForget"]
    assert company.ask("status")["erasures"] == []


def test_what_was_deleted_and_is_told_again_leaves_no_trace(company: Company) -> None:
    """A second request finds a stub of a deleted record; readings overlap, so that the record comes once more."""
    journal = company.directory / "journal" / "consent.log"
    assert company.rid(6) in journal.read_text()
    for _ in range(2):
        forget(company, 6, "--yes", "--delete")
        company.ask("once")
    assert company.rid(6) not in journal.read_text()
