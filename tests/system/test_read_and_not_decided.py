"""The lanes send what was planned while the next cycle reads: what it has read counts before it is decided about."""

from __future__ import annotations

import pytest

from tests.system.lab import NEWS, OFFERS, Lab

SHARED = "team@mail.example"


@pytest.mark.parametrize("comes", ["a new contact", "one that was there"])
def test_nobody_is_added_while_who_comes_to_the_address_with_a_refusal_waits_to_be_identified(lab: Lab, comes: str) -> None:
    lab.contact("ann", email=SHARED)
    if comes == "one that was there":
        lab.contact("twin", email="twin@mail.example", first_name="Ann", opted_out=1)
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    if comes == "one that was there":
        lab.edit("twin", email=SHARED)
    else:
        lab.contact("twin", email=SHARED, first_name="Ann", opted_out=1)
    cycle = lab.app.cycle()
    cycle.puller.run(cycle.feeds, lab.now())
    cycle.deliver(None)
    assert lab.keys(NEWS) == lab.keys(OFFERS) == set()
    lab.settle()
    assert lab.keys(NEWS) == lab.keys(OFFERS) == set()
