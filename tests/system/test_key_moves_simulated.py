"""Subscribers of an older system move to CRM ids at the simulated Marketing Cloud: everyone gets what they got."""

from __future__ import annotations

from pathlib import Path

from tests.system.acceptance_lab import MC, Company, gaps, mails

PEOPLE = 250


def keys_of(company: Company) -> dict[str, set[str]]:
    return {name: {row["key"] for rows in found.values() for row in rows} for name, found in company.audiences().items()}


def settle(company: Company) -> None:
    for _ in range(8):
        report = company.ask("once", deadline=60.0)
        assert not report["failed"], report["failed"]
        if not any(d.get("done", 0) for d in report["delivered"].values()):
            return
        company.advance(61)
    raise AssertionError(report["delivered"])


def test_subscribers_who_were_there_before_move_to_crm_ids(tmp_path: Path) -> None:
    with Company(tmp_path, PEOPLE) as company:
        company.link()
        settle(company)
        mails(company)
        settle(company)
        before, wanted = mails(company), company.wanted()
        settle(company)
        survey = {d["connection"]: d for d in company.ask("keys")["destinations"]}
        assert survey["mc_main"]["existing"] > 20
        old = keys_of(company)
        blocked = {s["key"] for s in company.world(MC)["subscribers"] if s["status"] == "Unsubscribed"}
        for connection in survey:
            company.ask("migrate_keys", connection=connection)
        settle(company)
        after = {d["connection"]: d for d in company.ask("keys")["destinations"]}
        assert all(d["other"] == d["moving"] == 0 for d in after.values()), after
        assert gaps(company, wanted) == {}
        assert mails(company) == before
        former = {key for connection in survey for key, _ in company.ask("former_keys", connection=connection)["former"]}
        assert former & blocked
        assert not former & set().union(*keys_of(company).values())
        assert former & set().union(*old.values())
        assert former & blocked == former & {
            s["key"] for s in company.world(MC)["subscribers"] if s["status"] == "Unsubscribed"}
        assert company.ask("holds")["holds"] == []
        settle(company)
        company.forget_journal()
        settle(company)
        assert not any(company.written().values())
