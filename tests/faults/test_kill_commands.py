"""kill -9 anywhere in what an admin begins: done again it ends as if nobody had killed it, and no opt-out is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.killing import Driver, driving, enough, unlike
from tests.faults.town import JOURNAL, MOVED, TORN, TRANSACTION, Town, town
from tests.unit.cli_lab import MAPPING

LONGEST = 24
"""Transactions that a cycle is let commit at most before it is killed."""
LATER = ("sealed", TRANSACTION, "sent", TRANSACTION, "recorded", TRANSACTION)
SMALL = 16
"""People."""


@pytest.fixture(scope="module")
def killer() -> Iterator[Driver]:
    with driving() as found:
        yield found


@pytest.fixture
def company(killer: Driver, tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path, killer) as found:
        yield found


def survives(company: Town, *words: str, least: int, places: tuple[str, ...] = (TRANSACTION, JOURNAL, TORN),
             **how: object) -> None:
    """Killed anywhere, and run again, the command comes to what it comes to undisturbed; at ``least`` so many deaths."""
    company.keep()
    company.start(*words, **how)
    calm = company.memory()
    for place in company.everywhere(*words, places=places, **how):
        company.start(*words, **how)
        different = unlike(calm, company.memory())
        assert not different, f"killed behind {place}:\n" + "\n".join(different)
    assert company.kills.total() >= least, company.kills
    assert min(company.kills[place] for place in places) >= 1, company.kills


def test_an_import_of_a_list(company: Town) -> None:
    """Run again it adds what is lacking, and nothing twice."""
    source = company.directory / "old.csv"
    source.write_text("email\n" + "".join(f"{who}{n}@example.org\n" for n in range(60) for who in ("p", "stranger")))
    survives(company, "consent", "import", str(source), least=15, constants={"syncd.cli.lists.PART": 15})
    company.ask("once")
    assert company.rows("OFFERS") == company.rows("NEWS") == 0


def test_the_retraction_of_a_burst_and_the_same_again(company: Town) -> None:
    company.world.act("sf", "mass_edit", object="Contact", where={}, set={"opted_out": 1})
    company.ask("once", exit=5)
    [hold] = [h["id"] for h in company.ask("holds", "list")["holds"] if h["class"] == "burst"]
    words = ("consent", "retract", "--burst", str(hold), "--evidence", "ticket 7", "--by", "Ann")
    survives(company, *words, least=10, constants={"state.bursts.CHUNK": 10})
    before = company.memory()
    assert company.ask(*words)["retracted"] == 0
    assert not unlike(before, company.memory()), "the same retraction again says nothing more"
    company.ask("once")
    assert company.rows("NEWS") == len(company.ids)


def test_a_restore(company: Town) -> None:
    """The present state is not touched before the new one is good, and the journal's later opt-outs are in either."""
    backup = company.directory / "elsewhere.db"
    company.world.send("mc", "de:OFFERS", "L1")
    company.ask("backup", str(backup))
    for n in (1, 3, 5):
        company.world.act("mc", "unsubscribe", email=f"p{n}@example.org", list="L1")
    company.ask("once")
    assert company.die("guarded", 1, "once"), "it leaves a write-ahead log, which is moved with the state"
    survives(company, "restore", str(backup), "--yes", least=7, places=(TRANSACTION, MOVED))
    company.ask("plan", exit=0)
    company.ask("once")
    assert not {f"p{n}@example.org" for n in (1, 3, 5)} & set(company.world.send("mc", "de:OFFERS")["mailed"])


# --------------------------------------------------------------------------- what cycles carry out

BY_EMAIL = MAPPING.replace("value: crm_id", "value: email")
RENAMED = (MAPPING.replace("  news:\n    name: News", "  bulletin:\n    name: News\n    was: [news]")
           .replace("      news: {publication", "      bulletin: {publication").replace("topic: news", "topic: bulletin"))
AUDIENCES = {"de:OFFERS": "L1", "de:NEWS": "L2", "de:RICH": "L1", "de:TOP": "L2"}


def mailed(company: Town) -> dict[str, set[str]]:
    """Who gets the mail of each audience now."""
    return {name: set(company.world.send("mc", name, through)["mailed"]) for name, through in AUDIENCES.items()}


def refusals(company: Town) -> None:
    """Everyone is a subscriber; one after the other leaves news, all mail, offers, all mail by a flag."""
    mailed(company)
    for n, left in ((1, "L2"), (2, ""), (5, "L1")):
        company.world.act("mc", "unsubscribe", email=f"p{n}@example.org", list=left)
    company.world.act("sf", "edit", object="Contact", id=company.ids[4], set={"opted_out": 1})
    company.ask("once")


def later(number: int) -> tuple[str, int]:
    """Where to die in the ``number``-th of several runs: later and later, or as soon as something is written."""
    place = LATER[number % len(LATER)]
    return place, number if place == TRANSACTION else 1


Dies = Callable[..., None]
"""Has a command die (place, number, words, …) and sees that the same people are mailed as before."""


def compared(killer: Driver, tmp_path: Path, begin: Callable[[Town, Dies | None], None], **how: str) -> None:
    """Two companies, of which one is killed while something is begun and carried out, end alike."""
    ends = []
    for killed in (False, True):
        with town(tmp_path / str(killed), killer, people=SMALL, **how) as company:
            refusals(company)
            # What nobody has read yet when it begins.
            company.world.act("mc", "unsubscribe", email="p3@example.org", list="L2")
            for id_ in company.ids[8:]:
                company.world.act("sf", "edit", object="Contact", id=id_, set={"first_name": "Other"})
            before = mailed(company)

            def dies(place: str, number: int, *words: str, company: Town = company, before: Any = before) -> None:
                company.die(place, number, *words, pace=7, fine=(0, 4))
                assert mailed(company) == before, f"killed behind {place} {number}"

            begin(company, dies if killed else None)
            for number in range(1, LONGEST if killed else 1):
                dies(*later(number), "once")
            for _ in range(8):
                if not any(d.get("done") for d in company.ask("once")["delivered"].values()):
                    break
            assert mailed(company) == before
            company.ask("once")
            ends.append((company.world.digest(), company.memory()))
    enough(company.kills, LATER, 1, 25)
    (calm, known), (other, its) = ends
    assert not unlike(known, its)
    assert calm == other


def test_a_move_to_other_keys(killer: Driver, tmp_path: Path) -> None:
    def begin(company: Town, dies: Dies | None) -> None:
        company.write()
        company.ask("apply", company.ask("plan", exit=4)["plan"]["id"])
        words = ("keys", "migrate", "--connection", "mc", "--yes")
        for number in range(1, 8) if dies else ():
            dies(TRANSACTION, number, *words)
        company.start(*words)
    compared(killer, tmp_path, begin, mapping=BY_EMAIL)


def test_another_id_for_a_topic(killer: Driver, tmp_path: Path) -> None:
    def begin(company: Town, dies: Dies | None) -> None:
        company.write(mapping=RENAMED)
        for number in range(1, 8) if dies else ():
            dies(TRANSACTION, number, "plan")
        plan = company.ask("plan", exit=4)["plan"]["id"]
        for number in range(1, LONGEST) if dies else ():
            dies(*later(number), "apply", plan)
        company.ask("apply", plan)
    compared(killer, tmp_path, begin)
