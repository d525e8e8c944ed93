"""The product's promise, on the sandbox's three vendors and its messy people.

Everything is judged from outside: by the control API's world, by who would get a mail, and by a naive reading of the mapping
that shares no code with syncd. ``SYNCD_ACCEPTANCE_PEOPLE`` sets the size of the first test's world (20,000 shows more).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.system import acceptance_world as naive
from tests.system.acceptance_lab import MC, Company, gaps, mails
from tests.system.acceptance_world import Json

PEOPLE = int(os.environ.get("SYNCD_ACCEPTANCE_PEOPLE", "2000"))
LISTS = {"odoo": 5, MC: 5}
CALLS = 25
"""What a cycle without news may cost, besides one call for each list."""
LOGINS = {"salesforce": 1, "odoo": 3, MC: 4}
"""Calls of the log-ins: Odoo is asked for its version first, Marketing Cloud has two business units, and both are asked
which account that is."""


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Linked by a plan and its approval; the tests follow each other in time."""
    with Company(tmp_path_factory.mktemp("acceptance"), PEOPLE) as found:
        yield found


def test_first_synchronisation(company: Company) -> None:
    before, strangers = company.wanted(), _strangers(company)
    company.link()
    assert gaps(company, before) == {}
    for audience, rows in company.audiences().items():
        for email, (row,) in rows.items():
            person = before.rows[audience].get(email)
            assert person is None or row["key"] in person.keys | {r["id"] for r in person.records}
    assert _strangers(company) == strangers, "rows and subscribers of people no CRM knows are left alone, refusals apart"
    tied, loose = mails(company)
    for audience, topic in naive.topics_of(company.rules).items():
        blocked = before.blocked(topic)
        assert not blocked & (tied[audience] | loose[audience])
        assert tied[audience] <= before.rows[audience].keys() | before.unsure[audience] | _by_hand(company, audience)


def _strangers(company: Company) -> list[object]:
    """Subscribers no CRM knows, with their statuses, and the rows somebody made for them: those in which they refuse the
    mail left out, as such a row goes."""
    world, topics = company.world(MC), naive.topics_of(company.rules)
    subscribers = [s for s in world["subscribers"] if s["key"].startswith("EXT-")]
    out = {(s["key"], topic) for s in subscribers for topic in set(topics.values())
           if s["status"] == "Unsubscribed" or s["topics"].get(topic) == "Unsubscribed"}
    rows = [(name, r["key"]) for name, a in world["audiences"].items() for r in a["rows"]
            if r["key"].startswith("EXT-") and (r["key"], topics[name]) not in out]
    return subscribers + sorted(rows)


def _by_hand(company: Company, audience: str) -> set[str]:
    return {r["email"] for r in company.world(MC)["audiences"][audience]["rows"] if r["key"].startswith("EXT-")}


def test_cycle_without_news(company: Company) -> None:
    """Once what was written last is older than the overlap in which changes are looked for again."""
    for _ in range(2):
        company.advance(6 * 3_600)
        company.cycle()
    company.forget_journal()
    report = company.cycle()
    assert not any(company.written().values())
    assert _done(report) == 0
    calls = company.calls()
    assert sum(calls.values()) <= CALLS + sum(LISTS.values()), calls


def test_once_from_cold(company: Company) -> None:
    """A process of its own, as cron starts it, writes nothing either, and pays for its log-ins alone."""
    company.cycle()
    company.forget_journal()
    company.cycle()
    warm = company.calls()
    company.forget_journal()
    report = company.process("once")
    assert (report["outcome"], _done(report)) == ("ok", 0)
    assert not any(company.written().values())
    calls = company.calls()
    assert sum(calls.values()) <= CALLS + sum(LISTS.values()), calls
    assert calls == {side: warm[side] + LOGINS[side] for side in calls}


def _done(report: Json) -> int:
    return sum(d.get("done", 0) for d in report["delivered"].values())


def test_one_in_a_hundred_edited(company: Company) -> None:
    """Their country is a column of three audiences; nothing else is written, and what was written is written once."""
    before, wanted = company.audiences(), company.wanted()
    contacts = [p for p in wanted.people if p.records and p.records[0]["source"] == "sf.Contact"
                and p.first("country") == "France" and not p.ambiguous and p.email in wanted.rows["tips"]]
    edited = contacts[:PEOPLE // 100]
    assert len(edited) == PEOPLE // 100
    company.forget_journal()
    for person in edited:
        for record in person.records:
            if record["source"] == "sf.Contact":
                company.user("salesforce", "edit", object="Contact", id=record["id"], set={"MailingCountry": "Belgium"})
    company.cycle()
    addresses = {p.email for p in edited}
    rows = [(a, e) for a in ("offers", "news", "tips") for e in before[a] if e in addresses]
    assert company.written() == {"salesforce": 0, "odoo": 0, MC: len(rows)}
    for audience, now in company.audiences().items():
        moved = {e for e in before[audience] if before[audience][e] != now.get(e)}
        assert moved == {e for a, e in rows if a == audience}
        assert now.keys() == before[audience].keys()
        assert all(now[e][0]["Country"] == "Belgium" for e in moved)
    company.forget_journal()
    company.cycle()
    assert not any(company.written().values())
