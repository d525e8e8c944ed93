"""The host's clock leaps ahead, and is set right again: nothing of it stays."""

from __future__ import annotations

import pytest

from tests.system.lab import DAY, NEWS, Lab

YEARS = 12 * 365 * 86_400_000_000


class Leap:
    """The lab's host, its clock that far ahead of everybody else's."""

    def __init__(self, lab: Lab) -> None:
        self.ahead, self._right = 0, lab.app._clock
        lab.app._clock = lambda: self._right() + self.ahead


@pytest.fixture
def leap(lab: Lab) -> Leap:
    lab.contacts(4)
    lab.link()
    return Leap(lab)


def test_listings_are_due_again(lab: Lab, leap: Leap) -> None:
    leap.ahead = YEARS
    lab.cycle()
    leap.ahead = 0
    lab.cycle()
    lab.world.act("mc", "delete_rows", audience=NEWS, keys=[lab.ids["p1"]])
    lab.advance(2 * DAY)
    lab.cycle()
    assert {h.cls for h in lab.holds()} == {"vanished"}


def test_a_refusal_that_was_put_off_goes_out(lab: Lab, leap: Leap) -> None:
    leap.ahead = YEARS
    lab.edit("p1", no_news=1)
    lab.world.fault("throttle", connection="mc", verb="apply", count=100)
    lab.cycle(wait=False)
    lab.world.clear_faults()
    leap.ahead = 0
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2", "p3"}
    assert lab.status("p1", "L2") == "unsubscribed"


def test_what_was_read_then_is_not_read_lately(lab: Lab, leap: Leap) -> None:
    leap.ahead = YEARS
    lab.cycle()
    leap.ahead = 0
    assert lab.app.cycle().consent_is_fresh()
    lab.world.fault("outage", connection="sf", count=1000)
    lab.cycle()
    assert not lab.app.cycle().consent_is_fresh(), "nobody knows what was said since"
    lab.world.clear_faults()
    lab.cycle()
    assert lab.app.cycle().consent_is_fresh()
