"""Consent that Salesforce keeps in rows of its own, from the simulated organisation to a provider and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.consent_lab import PEOPLE, Company, linked


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with linked(tmp_path_factory.mktemp("objects"), seed=3) as made:
        yield made


EVERYONE = set(range(1, PEOPLE + 1))


def test_a_refusal_found_at_the_first_link_stops_all_mail_and_reaches_the_box(company: Company) -> None:
    assert company.mailed() == {"OFFERS": EVERYONE - {9}, "NEWS": EVERYONE - {9}}
    assert company.boxes() == {9}
    assert (company.held(9, "ContactPointTypeConsent"), company.held(1), company.held(9)) == (["OptOut"], [], [])


def test_who_leaves_at_the_provider_leaves_in_the_consent_objects(company: Company) -> None:
    company.world.act("mc", "unsubscribe", email="p1@x.example", list="L1")
    company.world.act("mc", "unsubscribe", email="p2@x.example")
    company.world.act("mc", "unsubscribe", email="p12@x.example", list="L1")
    company.once()
    held = [(company.held(n), company.held(n, "ContactPointTypeConsent")) for n in (1, 2)]
    assert held == [(["OptOut"], []), ([], ["OptOut"])], "nothing wider, nothing narrower"
    assert company.boxes() == {2, 9}
    assert company.once()["plan"]["counts"] == [], "our own rows are echoes"
    assert company.ask("quarantine", "list")["quarantine"] == []


def test_whose_contact_has_no_individual_is_out_all_the_same_and_that_is_said(company: Company) -> None:
    assert PEOPLE not in company.mailed()["OFFERS"]
    found = [f["message"] for f in company.ask("doctor", exit=2)["findings"] if "IndividualId" in f["message"]]
    assert [message.partition(":")[0] for message in found] == ["2 of 12 records of sf.Contact have no IndividualId"]
    told = company.run("explain", "-", input="p12@x.example\n").stdout
    assert "CommSubscriptionConsent.Weekly_Offers = None means nothing; cannot be held: no IndividualId" in told


def test_a_refusal_made_in_the_consent_objects_stops_the_mail_everywhere(company: Company) -> None:
    said = company.say(3, "OptOut", 2)
    company.say(4, "OptOut")
    company.once()
    mailed = company.mailed()
    assert (3 in mailed["NEWS"], 3 in mailed["OFFERS"], 4 in mailed["NEWS"] | mailed["OFFERS"]) == (False, True, False)
    assert 4 in company.boxes()
    history = company.ask("consent", "history", "-", input="p3@x.example\n")["statements"]
    assert [(s["state"], s["topic"], s["source"], s["person_made"]) for s in history if s["topic"] == "news"] == [
        ("opt_out", "news", "sf.Contact", False)]
    # Who has it turned back by an employee stays out, and the row is set again.
    company.user("edit", "CommSubscriptionConsent", id=said, set={"PrivacyConsentStatus": "OptIn"})
    company.once()
    assert 3 not in company.mailed()["NEWS"]
    assert company.held(3) == ["OptOut"]
    # So does whose row is deleted.
    said = company.say(10, "OptOut", 2)
    company.once()
    company.user("delete", "CommSubscriptionConsent", id=said)
    company.once()
    assert 10 not in company.mailed()["NEWS"]
    assert company.held(10) == ["OptOut"]


def test_coming_back_needs_the_person_s_word(company: Company) -> None:
    said = company.say(5, "OptOut", 1)
    company.once()
    assert 5 not in company.mailed()["OFFERS"]
    company.kernel.clock.advance(3600)
    company.user("edit", "CommSubscriptionConsent", id=said, set={
        "PrivacyConsentStatus": "OptIn", "ConsentCapturedSource": "web", "ConsentCapturedDateTime": company.now()})
    company.once()
    assert 5 in company.mailed()["OFFERS"]
    assert company.held(5) == ["OptIn"]
    company.world.act("mc", "unsubscribe", email="p5@x.example", list="L1")
    company.once()
    words = ("--topic", "offers", "--evidence", "a letter", "--by", "Kim")
    company.ask("consent", "grant", "-", *words, input="p5@x.example\n")
    company.once()
    assert company.held(5) == ["OptIn"], "the ledger turns what it refused"
    assert 5 in company.mailed()["OFFERS"]


def test_what_says_nothing_changes_nothing(company: Company) -> None:
    for number, status in ((6, "Seen"), (7, "NotSeen"), (8, "OptIn")):
        company.say(number, status, 2)
    company.say(6, "OptOut", 2, EffectiveToDate="2026-02-01")
    head = company.ask("status")["ledger"]
    company.once()
    assert company.ask("status")["ledger"] == head
    assert {6, 7, 8} <= company.mailed()["NEWS"]


def test_consent_that_ends_is_consent_no_more(company: Company) -> None:
    """It was given in January and the employee ends it: that is no refusal of the past, but of now."""
    row = next(r["Id"] for r in company.sim.db.tables["CommSubscriptionConsent"].rows.values()
               if r["ConsentGiverId"] == company.party(8))
    company.user("edit", "CommSubscriptionConsent", id=row, set={"EffectiveToDate": "2026-02-01"})
    company.once()
    assert 8 not in company.mailed()["NEWS"]
    assert company.held(8) == ["OptIn", "OptOut"]


def test_the_audit_finds_what_a_poll_cannot_see(company: Company) -> None:
    """A refusal whose time is over counts there no more; here it does."""
    row = next(r for r in company.sim.db.tables["CommSubscriptionConsent"].rows.values()
               if r["ConsentGiverId"][:15] == company.party(1)[:15])
    company.sim.db.put("CommSubscriptionConsent", {**row, "EffectiveToDate": "2026-02-01"})
    told = company.ask("audit", "--all", exit=0)
    assert [(d["where"], d["kind"]) for d in told["disagreements"]] == [
        ("Contact.CommSubscriptionConsent.Weekly_Offers", "still_open")]
    assert sorted(company.held(1)) == ["OptOut", "OptOut"]
    assert 1 not in company.mailed()["OFFERS"]
