"""At the simulated vendors: whatever list a mail went through, its reader leaves what it was about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import acceptance_world as naive
from tests.system.acceptance_lab import Company, mails


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with Company(Path(tmp_path_factory.mktemp("company")), 120) as made:
        made.link()
        yield made


def send(company: Company, audience: str, **about: Any) -> tuple[str, set[str]]:
    """The send's id, and who got it, by normal address."""
    sent = company.control.act(actor="esp_user", do="send", to={"audience": audience}, **about)
    return str(sent["id"]), {str(naive.address(e)) for e in sent["mailed"]}


def leave(company: Company, mail: str, reached: set[str], topics: set[str]) -> str:
    """Somebody who gets all of ``topics`` leaves by the link of a mail; her address."""
    rows = company.wanted().rows
    email = next(e for e, p in sorted(rows["news"].items()) if e in reached and all(e in rows[t] for t in topics)
                 and [r["source"] for r in p.all] == ["sf.Contact"])
    person = rows["news"][email]
    assert company.recipient("unsubscribe", str(person.email), {"mail": mail}) == 1
    company.cycle(good=False)
    return email


def gets(company: Company, email: str) -> set[str]:
    """Which topics' mails reach an address."""
    loose = mails(company)[1]
    return {topic for topic in ("offers", "news", "tips") if email in loose[topic]}


def test_a_mail_through_the_list_of_another_topic(company: Company) -> None:
    mail, reached = send(company, "tips", list="news")
    email = leave(company, mail, reached, {"news", "tips"})
    assert gets(company, email) & {"news", "tips"} == set()
    told = {s["send"]: s["message"] for s in company.ask("status")["sends"]}
    assert "without its publication list 4713" in told[mail]


def test_a_guided_send_is_understood_by_its_name(company: Company) -> None:
    mail, reached = send(company, "tips", list="news", how="guided", name="Tips of June")
    email = leave(company, mail, reached, {"news", "tips"})
    assert gets(company, email) & {"news", "tips"} == set()


def test_a_journeys_mail_is_its_lists_topic(company: Company) -> None:
    mail, reached = send(company, "tips", how="triggered", name="Welcome")
    email = leave(company, mail, reached, {"news", "tips"})
    assert gets(company, email) & {"news", "tips"} == {"news"}
    assert company.ask("quarantine")["quarantine"] == [q for q in company.ask("quarantine")["quarantine"]
                                                       if q["object"] != "sends"]


def test_a_person_account_is_one_person_whichever_of_its_pages_says_no(company: Company) -> None:
    def refuse(contact: str) -> bool:
        """Tick the box on the account's page, if the contact has one."""
        return bool(company.user("salesforce", "edit", object="Account", where={"PersonContactId": contact},
                                 set={"PersonHasOptedOutOfEmail": True})["changed"])
    rows = company.wanted().rows["news"]
    email, contact = next((e, str(p.records[0]["id"])) for e, p in sorted(rows.items())
                          if [r["source"] for r in p.all] == ["sf.Contact"] and refuse(str(p.records[0]["id"])))
    company.cycle(good=False)
    assert gets(company, email) == set()
    assert company.record("salesforce", contact)["opted_out"] is True
