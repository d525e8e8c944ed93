"""Nobody who opted out is mailed that again, whatever happens in the three systems afterwards; everyone else still is.

Twenty-odd people leave: one topic by the link in its mail, a topic by the link in a segment's mail, all mail. Then the world
turns against them, one event after another, and after each it is asked who would get a mail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.system import acceptance_world as naive
from tests.system.acceptance_lab import MC, Company, gaps, mails
from tests.system.acceptance_world import Person

PEOPLE = 2_000
MINUTE, HOUR = 60.0, 3_600.0
_PAIR = ["sf.Contact", "odoo.res.partner"]
EACH = 7
"""People who leave in each of the three ways; every event happens to one of each, some to all."""


@dataclass
class Leaver:
    """Somebody who opted out of ``topic``, None = of all mail."""

    person: Person
    topic: str | None
    created: list[tuple[str, str]] = field(default_factory=list)

    @property
    def email(self) -> str:
        found = self.person.email
        assert found is not None
        return found

    def id(self, source: str) -> str:
        return next(str(r["id"]) for r in self.person.records if r["source"] == source)


class Story:
    """The company, those who left, and the questions asked after every event."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.leavers: list[Leaver] = []

    def silent(self, *, tied_only: bool = False) -> None:
        """Nobody who left is mailed what they left: at once with the topic's list, after the next cycle without one."""
        tied, loose = mails(self.company)
        for audience, topic in naive.topics_of(self.company.rules).items():
            gone = {x.email for x in self.leavers if x.topic in (None, topic)}
            assert not gone & tied[audience], audience
            assert tied_only or not gone & loose[audience], audience

    def lively(self) -> None:
        """Everyone else is where the mapping wants them, and nobody is twice."""
        assert gaps(self.company, self.company.wanted()) == {}

    def of(self, number: int) -> list[Leaver]:
        """The ones with this number of each way of leaving."""
        return [x for way in ("offers", "tips", None)
                for x in [x for x in self.leavers if x.topic == way][number:number + 1]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with Company(tmp_path_factory.mktemp("consent"), PEOPLE) as company:
        company.link()
        company.cycle()
        yield Story(company)


def _couples(company: Company, audience: str, number: int, but: set[str]) -> list[Person]:
    """People of an audience with a contact and a partner under one address, whom a mail reaches."""
    wanted = company.wanted()
    reached = {naive.address(e) for e in company.send(audience, tied=False)["mailed"]}
    found = [p for e, p in sorted(wanted.rows[audience].items()) if e in reached and e not in but
             and [r["source"] for r in p.records] == [r["source"] for r in p.all] == _PAIR and len(p.addresses) == 1]
    assert len(found) >= number
    return found[:number]


def test_opt_outs_reach_both_crms_at_their_scope(story: Story) -> None:
    company = story.company
    used: set[str] = set()
    for audience, topic in (("offers", "offers"), ("customers", "tips"), ("tips", None)):
        for person in _couples(company, audience, EACH, used):
            story.leavers.append(Leaver(person, topic))
            used.add(person.email or "")
    offers, customers = company.send("offers")["id"], company.send("customers")["id"]
    before = {x.email: company.record("salesforce", x.id("sf.Contact")) for x in story.leavers}
    for leaver in story.leavers:
        mail = {"offers": {"mail": offers}, "tips": {"mail": customers}, None: "all"}[leaver.topic]
        assert company.recipient("unsubscribe", leaver.email, mail) == 1
    story.silent(tied_only=True)
    company.cycle()
    for leaver in story.leavers:
        contact = company.record("salesforce", leaver.id("sf.Contact"))
        partner = company.record("odoo", leaver.id("odoo.res.partner"))
        assert contact["opted_out"] == partner["opted_out"] == (leaver.topic is None)
        changed = {t for t, state in contact["topics"].items() if state != before[leaver.email]["topics"][t]}
        if leaver.topic is not None:
            # An empty box stays empty; "unsubscribe from all" sets the lists as well, which counts, too.
            assert changed <= {leaver.topic}
            assert (contact["topics"][leaver.topic], partner["topics"][leaver.topic]) == (False, False)
    story.silent()
    story.lively()


def test_own_write_backs_are_no_news(story: Story) -> None:
    company = story.company
    company.cycle()
    company.forget_journal()
    company.cycle()
    assert not any(company.written().values())


def test_everything_is_read_again(story: Story) -> None:
    company = story.company
    report = company.ask("resync", everything=True)
    assert report["plan"]["holds"] == [], report["plan"]
    story.silent()
    story.lively()


def test_deleted_and_created_again(story: Story) -> None:
    company = story.company
    leavers = story.of(0)
    for leaver in leavers:
        company.user("salesforce", "delete", object="Contact", id=leaver.id("sf.Contact"))
        company.user("odoo", "delete", object="res.partner", id=int(leaver.id("odoo.res.partner")))
    company.cycle()
    story.silent()
    made = {}
    for leaver in leavers:
        old, partner = (next(r["fields"] for r in leaver.person.records if r["source"] == s) for s in _PAIR)
        made[leaver.email] = company.user("salesforce", "create", object="Contact", set={
            **{n: old.get(n) for n in ("FirstName", "LastName", "MailingCountry", "Persona__c")},
            "Email": leaver.email})["id"]
        company.user("odoo", "create", object="res.partner", set={"name": partner["name"], "email": leaver.email})
    company.cycle()
    story.silent()
    company.cycle()
    for leaver in leavers:
        contact = company.record("salesforce", made[leaver.email])
        assert contact["opted_out"] if leaver.topic is None else contact["topics"][leaver.topic] is False
    story.silent()
    story.lively()


def test_unticked_by_employees(story: Story) -> None:
    company = story.company
    for leaver in story.of(1):
        contact, partner = leaver.id("sf.Contact"), int(leaver.id("odoo.res.partner"))
        change: dict[str, object] = {"opted_out": False}
        if leaver.topic is not None:
            change = {"topics": {leaver.topic: True}}
        company.user("salesforce", "edit", object="Contact", id=contact, set=change)
        company.user("odoo", "edit", object="res.partner", id=partner, set=change)
    story.silent(tied_only=True)
    for _ in range(2):
        company.cycle()
        story.silent()
    for leaver in story.of(1):
        contact_now = company.record("salesforce", leaver.id("sf.Contact"))
        partner_now = company.record("odoo", leaver.id("odoo.res.partner"))
        if leaver.topic is None:
            assert (contact_now["opted_out"], partner_now["opted_out"]) == (True, True)
        else:
            assert (contact_now["topics"][leaver.topic], partner_now["topics"][leaver.topic]) == (False, False)
    story.lively()


def test_other_fields_edited(story: Story) -> None:
    company = story.company
    for leaver in story.of(2):
        company.user("salesforce", "edit", object="Contact", id=leaver.id("sf.Contact"),
                     set={"FirstName": "Edited", "MailingCountry": "Germany", "Persona__c": "buyer;decider"})
        company.user("odoo", "edit", object="res.partner", id=int(leaver.id("odoo.res.partner")), set={"city": "Gent"})
    company.cycle()
    story.silent()
    story.lively()


def test_upsert_that_arrives_ten_minutes_late(story: Story) -> None:
    """Somebody opts in, the row is on its way, somebody opts out, the row arrives."""
    company = story.company
    wanted = company.wanted()
    late = [p for e, p in sorted(wanted.rows["tips"].items()) if e not in wanted.rows["offers"] and not p.refused
            and p.keys and [r["source"] for r in p.all] == ["sf.Contact"]][:3]
    assert len(late) == 3
    company.advance(HOUR)
    company.cycle()
    company.fault(MC, "slow_queue", seconds=600)
    for person in late:
        company.user("salesforce", "form", object="Contact", id=person.records[0]["id"], set={"topics": {"offers": True}})
    company.cycle(good=False, deadline=3)
    assert not any(p.email in company.audiences()["offers"] for p in late), "the queue is slow"
    for person in late:
        assert company.recipient("unsubscribe", person.email or "", {"topic": "offers"}) == 1
        story.leavers.append(Leaver(person, "offers"))
    company.cycle(good=False, deadline=3)
    story.silent(tied_only=True)
    company.clear_faults()
    company.advance(11 * MINUTE)
    story.silent(tied_only=True)
    company.cycle()
    story.silent()
    story.lively()


def test_another_process(story: Story) -> None:
    company = story.company
    company.stop()
    company.cycle()
    story.silent()


def test_replayed(story: Story) -> None:
    company = story.company
    company.cycle()
    for stream in ("sf.Contact", "mc_main.list:4711", "mc_main.subscribers", "odoo.mail.blacklist"):
        report = company.ask("resync", stream=stream)
        assert report["plan"]["holds"] == [], (stream, report["plan"])
        story.silent()
    story.lively()


def test_coming_back(story: Story) -> None:
    """A form filled in later, in knowledge of the opt-out, is the only way back; it is one."""
    company = story.company
    company.advance(HOUR)
    company.cycle()
    leaver = next(x for x in story.of(3) if x.topic == "offers")
    company.user("salesforce", "form", object="Contact", id=leaver.id("sf.Contact"), set={"topics": {"offers": True}})
    story.leavers.remove(leaver)
    company.cycle()
    company.cycle()
    assert leaver.email in {naive.address(e) for e in company.send("offers")["mailed"]}
    assert company.record("odoo", leaver.id("odoo.res.partner"))["topics"]["offers"] is True
    story.silent()
    story.lively()
