"""The lanes send what was planned while the next cycle reads: what it has read counts before it is decided about."""

from __future__ import annotations

import pytest

from syncd.config import Config, Secret
from syncd.desk import forget
from syncd.desk.instance import Instance
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


def test_who_is_forgotten_while_a_record_of_hers_waits_to_be_identified_is_forgotten_whole(lab: Lab) -> None:
    """The cycle that had read it was broken off."""
    lab.contact("ann", email=SHARED)
    lab.link()
    lab.contact("twin", email=SHARED, first_name="Ann")
    cycle = lab.app.cycle()
    cycle.puller.run(cycle.feeds, lab.now())
    config = Config.model_construct(state=str(lab.app.store.path), journal=str(lab.directory / "journal.log"),
                                    hash_key=Secret(lab.policy.hash_key.decode()), connections=dict.fromkeys(lab.roles))
    office = Instance(config, lab.app.store, lab.app.mapping, clock=lab.now)
    office._app = lab.app  # the connections are the lab's
    assert forget.run(office, SHARED).data["done"]
    lab.settle()
    assert lab.rows("SELECT count(*) FROM record WHERE forgotten IS NULL") == [(0,)]
    lab.contact("again", email=SHARED)
    lab.settle()
    assert lab.keys(NEWS) == lab.keys(OFFERS) == set()
