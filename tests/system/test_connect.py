"""A business unit with Marketing Cloud Connect: every unsubscribe, however narrow, ticks "Email Opt Out" in Salesforce."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.sim.world import layout
from tests.system import acceptance_world as naive
from tests.system.acceptance_lab import Company, mails


def leave_offers(company: Company) -> tuple[str, str]:
    """Somebody in the audiences of two topics leaves one of them by the link in its mail, and Connect copies that; her
    address and her contact's id."""
    wanted = company.wanted()
    reached = {str(naive.address(e)) for e in company.send("offers")["mailed"]}
    person = next(p for e, p in sorted(wanted.rows["offers"].items()) if e in reached and e in wanted.rows["tips"]
                  and [r["source"] for r in p.all] == ["sf.Contact"])
    email, contact = str(person.email), str(person.records[0]["id"])
    company.cycle()
    assert company.recipient("unsubscribe", email, {"topic": "offers"}) == 1
    assert company.control.act(actor="connect", do="echo")["changed"] == 1
    assert company.record("salesforce", contact)["opted_out"] is True
    return email, contact


def test_a_topic_unsubscribe_that_connect_copies_stays_one_where_history_is_tracked(tmp_path: Path) -> None:
    with Company(tmp_path, 150) as company:
        company.link()
        email, contact = leave_offers(company)
        assert company.cycle()["echoes"] == 1
        for hours in (1, 30):
            company.advance(hours * 3600.0)
            company.cycle(good=False)  # an address that the provider refuses is tried again and again
            loose = mails(company)[1]
            assert email not in loose["offers"]
            assert email in loose["tips"]
        company.forget_journal()
        company.user("salesforce", "edit", object="Contact", id=contact, set={"FirstName": "Zoe"})
        company.cycle(good=False)
        assert company.written()["salesforce"] == 0, "nothing of hers flips back and forth"
        assert company.record("salesforce", contact)["opted_out"] is True


def test_it_becomes_a_master_opt_out_where_nobody_can_tell_whose_it_was(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_TRACKED", ())
    with Company(tmp_path, 150) as company:
        text = company.box.config_path.read_text("utf-8")
        company.box.config_path.write_text("\n".join(x for x in text.splitlines() if "connect_user" not in x), "utf-8")
        company.link()
        email, _ = leave_offers(company)
        assert company.cycle()["echoes"] == 0
        assert not any(email in mailed for mailed in mails(company)[1].values())
        statements = company.ask("consent_history", address=email)["statements"]
        assert [s["source"] for s in statements if s["state"] == "opt_out" and s["level"] == "master"] == ["sf.Contact"]
