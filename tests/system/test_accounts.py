"""A connection that leads to another account than the one it is about: its ids are other people's there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.base import Account
from connectors.errors import AnotherAccount
from mappings.problems import MappingProblems
from state import accounts
from syncd.accounts import compare
from syncd.runs import Report
from tests.system.lab import CONTACT, HOUR, MAPPING, NEWS, OFFERS, Lab, done


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Four people who get everything; p9, who came after the link, is to get news."""
    with Lab(tmp_path) as found:
        found.contacts(4)
        found.link()
        found.contact("p9")
        yield found


def swap(lab: Lab, name: str) -> None:
    """The connection leads to another account from the next start on."""
    lab.world.act(name, "become", account="other")
    lab.reopen()


def serve(lab: Lab) -> Report:
    """A cycle as the service makes them; as if it had begun a while ago."""
    lab.advance(HOUR)
    return lab.cycle(whole=False)


def refused(report: Report) -> set[str]:
    return {name for name, error in report.pulled.failed.items() if isinstance(error, AnotherAccount)}


def elsewhere(lab: Lab, name: str) -> str | None:
    [(found,)] = lab.rows(f"SELECT elsewhere FROM connection WHERE name = '{name}'")
    return found  # type: ignore[no-any-return]


def test_nothing_of_another_crm_is_read_or_written_and_nobody_is_made_mailable(lab: Lab) -> None:
    """In the other organisation the ids are other people's: p1's record refuses, and p2's address is somebody else's."""
    lab.edit("p1", opted_out=1)
    lab.edit("p2", email="stranger@mail.example")
    swap(lab, "sf")
    lab.unsubscribe("p0")
    lab.world.counters("sf", reset=True)
    report = serve(lab)
    assert "sf.Contact" in refused(report)
    assert lab.world.counters("sf")["reads"] == lab.world.counters("sf")["writes"] == 0
    assert lab.keys(NEWS) == {"p1", "p2", "p3"}
    assert lab.flags("p0")["opted_out"] == 0
    assert done(serve(lab)) == 0
    assert elsewhere(lab, "sf") == "other at sf"
    with pytest.raises(AnotherAccount, match="syncd connections accept sf --same-people"):
        lab.cycle()


def test_nothing_is_written_to_another_provider_and_opt_outs_wait_for_the_right_one(lab: Lab) -> None:
    swap(lab, "mc")
    lab.edit("p0", opted_out=1)
    before = lab.keys(OFFERS), lab.keys(NEWS)
    for _ in range(2):
        serve(lab)
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == before
    assert lab.status("p0") == "subscribed"
    assert elsewhere(lab, "mc") == "other at mc"
    lab.world.act("mc", "become", account="mc")
    lab.reopen()
    serve(lab)
    lab.settle()
    assert lab.status("p0") == "unsubscribed"
    assert lab.keys(NEWS) == {"p1", "p2", "p3", "p9"}
    assert elsewhere(lab, "mc") is None


def test_a_service_that_meets_another_account_at_a_later_login_stops_there_too(lab: Lab) -> None:
    lab.cycle()
    lab.contact("p10")
    lab.unsubscribe("p3")
    lab.world.act("sf", "become", account="other")
    with pytest.raises(AnotherAccount):
        lab.app.connectors["sf"].check()
    assert serve(lab).plan is None, "what does not fit its description makes the service ask again before it decides"
    assert "sf.Contact" in refused(serve(lab))
    assert lab.keys(NEWS) == {"p0", "p1", "p2", "p9"}
    lab.world.act("sf", "become", account="sf")
    lab.app.connectors["sf"].check()
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p1", "p2", "p9", "p10"}
    assert lab.flags("p3")["opted_out"] == 1


def test_an_audience_that_may_be_created_is_not_taken_for_empty(tmp_path: Path) -> None:
    """What is not there has no rows; what is elsewhere has them still."""
    text = MAPPING.replace("data_extension: {key: NEWS}", "data_extension: {key: NEWS, create: true}")
    with Lab(tmp_path, text) as lab:
        lab.contacts(4)
        lab.link()
        swap(lab, "mc")
        lab.app.cycle(None, whole=False).run("once", full=True)
        assert lab.rows("SELECT count(*) FROM vanished") == [(0,)]


def test_once_accepted_everything_there_is_read_again(lab: Lab) -> None:
    lab.settle()
    lab.edit("p1", opted_out=1)
    swap(lab, "sf")
    assert refused(serve(lab))
    lab.app.store.write(lambda conn: accounts.accept(conn, lab.app.store.book, "sf", "other", "sf"))
    report = serve(lab)
    assert not report.pulled.failed
    assert report.pulled.rows["sf.Contact"] == 5
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2", "p3", "p9"}
    assert elsewhere(lab, "sf") is None


def test_an_account_that_was_never_read_may_be_another_one(tmp_path: Path) -> None:
    """A first attempt with the wrong address leaves nothing behind that could be mistaken."""
    with Lab(tmp_path, MAPPING.replace("spent: spent", "spent: nothing", 1)) as lab:
        for account in ("first", "second"):
            lab.world.act("sf", "become", account=account)
            lab.reopen()
            with pytest.raises(MappingProblems):
                lab.cycle()
            assert lab.rows("SELECT account FROM connection WHERE name = 'sf'") == [(account,)]
        lab.reopen(MAPPING)
        lab.cycle(deliver=False)
        swap(lab, "sf")
        with pytest.raises(AnotherAccount):
            lab.cycle()


def test_a_vendor_that_tells_less_for_a_while_is_still_known_by_its_word(lab: Lab) -> None:
    judge = lab.app.endpoints["sf"].connector._login.judge  # type: ignore[attr-defined]  # the world always tells
    judge(Account("", "sf"))
    judge(Account("sf", "moved"))
    judge(Account("", "moved"))
    for other in (Account("", "sf"), Account("other", "moved")):
        with pytest.raises(AnotherAccount):
            judge(other)
    path = lab.directory / "state.db"
    compare(path, "sf", Account("sf", "anywhere"), lab.roles)
    compare(lab.directory / "none.db", "sf", Account("other", ""), lab.roles)
    with pytest.raises(AnotherAccount):
        compare(path, "sf", Account("other", "moved"), lab.roles)


def test_another_organisation_gets_a_name_of_its_own_and_who_refused_in_the_old_one_stays_out(tmp_path: Path) -> None:
    def build(lab: Lab) -> None:
        lab.world.create_crm("new", {"Contact": {"fields": CONTACT, "master_flag": "opted_out", "prefix": "0N3",
                                                 "topics": {"offers": "offers", "news": "no_news"}}})

    with Lab(tmp_path, build=build) as lab:
        lab.contacts(4)
        lab.link()
        lab.unsubscribe("p1")
        lab.edit("p2", no_news=1)
        lab.settle()
        rows = [{"email": f"{name}@mail.example", "first_name": name} for name in ("p1", "p2", "new")]
        lab.ids["new"] = lab.world.load("new", "Contact", rows)[-1]
        lab.roles["new"] = lab.roles.pop("sf")
        lab.reopen(MAPPING.replace("sf.Contact", "new.Contact"))
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert lab.keys(NEWS) == {"new"}
        told = {p["fields"]["first_name"]: p["fields"]["opted_out"] for p in lab.world.truth()["new"]["people"]}
        assert told == {"p1": 1, "p2": None, "new": None}
