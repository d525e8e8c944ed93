"""kill -9 anywhere while somebody is forgotten: run again it is finished, nothing of the person is left in any file, and the
records of the others are what they were."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.killing import Driver, driving
from tests.faults.town import JOURNAL, MOVED, TORN, TRANSACTION, Commands
from tests.system.consent_lab import Company, linked

PEOPLE = 40
POINTS = ("forget_begun", "forget_erased", "forget_files", "forget_asked", "forget_in_crm")
PLACES = (TRANSACTION, JOURNAL, TORN, MOVED, *POINTS)


@pytest.fixture(scope="module")
def killer() -> Iterator[Driver]:
    with driving() as found:
        yield found


def address(number: int) -> str:
    return f"p{number}@x.example"


def traces(company: Company, number: int) -> list[str]:
    """Files of the state's and the journal's directories that hold the address, the name or the record's id."""
    words = [word.encode() for word in (f"p{number}@x.example", f'"{company.rid(number)}')]
    found = []
    for path in (*(company.directory / "state").iterdir(), *(company.directory / "journal").iterdir()):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.name}: {word!r}" for word in words[:2 if path.name == "consent.log" else 1] if word in content]
    return found


def contact(company: Company, number: int) -> dict[str, Any]:
    return next(dict(p) for p in company.sim.world(None, None)["people"] if p["id"][:15] == company.rid(number)[:15])


def test_one_after_the_other_is_forgotten_each_killed_elsewhere(killer: Driver, tmp_path: Path) -> None:
    with linked(tmp_path, seed=4, people=PEOPLE) as company:
        company.mailed()
        company.once()
        commands, people = Commands(company, killer), iter(range(1, PEOPLE - 2))
        marked: set[int] = set()
        deleted: set[int] = set()
        for place in PLACES:
            for number in count(1):
                who = next(people)
                words = ("forget", "--also-crm", "sf", "--yes", *(("--delete",) if who % 2 else ()), "-")
                killed = commands.die(place, number, *words, input=address(who) + "\n")
                (deleted if who % 2 else marked).add(who)
                if number % 2:
                    company.once()
                company.ask(*words, input=address(who) + "\n")
                assert traces(company, who) == [], f"killed behind {place} {number}"
                if not killed:
                    break
        company.once()
        assert not [trace for who in marked | deleted for trace in traces(company, who)]
        assert company.ask("status")["erasures"] == []
        assert company.ask("consent", "verify")["intact"]
        assert company.mailed()["OFFERS"] == {*people, PEOPLE - 2, PEOPLE - 1, PEOPLE} - {9}, "nine refused in a row of hers"
        assert all(contact(company, n)["deleted"] == (n in deleted) for n in range(1, PEOPLE + 1))
        assert min(commands.kills[place] for place in PLACES) >= 1
        assert commands.kills.total() >= 20, commands.kills
