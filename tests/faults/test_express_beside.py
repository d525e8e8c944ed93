"""A click that lands between any two steps of a cycle is at both CRMs when it is over, and no mail goes to the person."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd import logs
from syncd.web.front import Front
from tests.system.web_lab import Running, unsubscribes

PEOPLE = 700
TIPS = "4713"
OFTEN = ("page_stored", "sealed", "sent", "recorded")
ALONE = ("looked_up", "resolved", "suppressed")
"""Points of the express way itself: what comes there is looked up when it has passed them."""
CLICKS = {**dict.fromkeys(("pulled", "identified", "planned", "guarded", "settled", *ALONE), 1), **dict.fromkeys(OFTEN, 3)}
"""How often somebody clicks at each point of a cycle, and of the express way beside it."""


class Clicking(Running):
    """The service in this process, with somebody at its failpoints who unsubscribes by a webhook alone."""

    def __init__(self, directory: Path, people: int) -> None:
        super().__init__(directory, people)
        self.company.send("tips")
        self.company.cycle()
        self.company.stop()
        self.company.ask("status")
        self.desk = self.company._desk
        assert self.desk is not None
        self.desk.app.failpoint = self.passed
        self.leavers: list[str] = []
        self.left: dict[str, str] = {}
        """Who clicked, and where."""
        self.mailed: dict[str, str] = {}
        """Who got a mail of the topic after everything about her had been carried out, and where that was."""
        self.silent: set[str] = set()
        self._passed: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._asked = False
        self._told = (directory / "told").open("w")
        self.front = Front(lambda: self.desk, logs.logger(pretty=False, stream=self._told), lambda: True, lambda: 0)
        self.front.open()
        self.desk.cycle_of_now()
        self.front.ready()

    def passed(self, point: str) -> None:
        """A thread of the cycle, or of the express way, passes a failpoint."""
        with self._guard:
            self._passed[point] += 1
            if not self._asked or self._passed[point] > CLICKS.get(point, 0) or not self.leavers:
                return
            leaver = self.leavers.pop()
            self.left[leaver] = f"{point} {self._passed[point]}"
        assert self.post.send(unsubscribes([self.numbers[leaver]], TIPS, job=1_000_000 + len(self.left))) == 204
        if point not in ALONE:
            self.until(lambda: self.state("SELECT count(*) FROM inbox WHERE resolved_at IS NULL") == [(0,)])
        if point in OFTEN:
            self.mail(point)

    def mail(self, where: str) -> None:
        """Whoever was carried everywhere before is mailed by nothing of the topic."""
        got = {address.lower() for tied in (True, False) for address in self.company.send("tips", tied=tied)["mailed"]}
        with self._guard:
            self.mailed |= dict.fromkeys(got & self.silent, where)
            before = set(self.left)
        missing = {address for _, address in self.lacking(before)}
        with self._guard:
            self.silent |= before - missing

    def cycle(self) -> None:
        """One cycle in which people click."""
        self._passed.clear()
        self._asked = True
        self.company.ask("once", deadline=60.0)
        self._asked = False

    def close(self) -> None:
        self.front.close()
        self._told.close()
        super().close()


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Clicking]:
    with Clicking(tmp_path, PEOPLE) as found:
        yield found


def test_a_click_between_any_two_steps_of_a_cycle(company: Clicking) -> None:
    company.leavers = company.couples(sum(CLICKS.values()))
    assert {*company.leavers} <= {address.lower() for address in company.company.send("tips", tied=False)["mailed"]}
    contacts = {email: next(p for side, p in found if side == "salesforce") for email, found in company.records().items()
                if email in company.leavers}
    for n, contact in enumerate(contacts.values()):  # their rows want to be written in the very cycle
        company.company.user("salesforce", "edit", object=contact["object"], id=contact["id"],
                             set={"FirstName": f"Name {n}"})
    company.cycle()
    everyone = set(company.left)
    assert {place.split()[0] for place in company.left.values()} == set(CLICKS), company.left
    company.until(lambda: company.carried(everyone), every=0.5)
    company.mail("after the cycle")
    company.mail("after the cycle")
    company.company.ask("once", deadline=60.0)
    assert company.carried(everyone), company.lacking(everyone)
    company.mail("after the next")
    assert company.silent == everyone
    assert company.mailed == {}, {company.left[who]: where for who, where in company.mailed.items()}
    company.until(lambda: company.quiet_after(lambda: company.company.ask("once", deadline=60.0)))
