"""A topic that ceases to be marketing: what that means is said before it happens, and nobody gets it as marketing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.desk import views
from tests.system.lab import MAPPING, NEWS, Lab

TRANSACTIONAL = MAPPING.replace("name: News\n    purpose: marketing", "name: News\n    purpose: transactional")
COMMERCIAL = MAPPING


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Four people: p1 stopped all mail at the provider, "flag" has the box ticked and is no subscriber, p2 left the news."""
    with Lab(tmp_path) as found:
        found.contacts(3)
        found.contact("flag", opted_out=1)
        found.link()
        found.unsubscribe("p1")
        found.unsubscribe("p2", "L2")
        found.settle()
        assert found.keys(NEWS) == {"p0"}
        found.reopen(TRANSACTIONAL)
        yield found


def test_the_plan_says_who_becomes_mailable_and_why(lab: Lab) -> None:
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    [note] = plan.notes
    assert note == ('Mail of the topic "news" is transactional, which a stop of all marketing does not stop: of 2 people to'
                    " be added to mc de:NEWS, 2 had stopped all marketing. Who left the topic itself stays out.")
    assert note in lab.hold("mapping").reason
    added = [o for o in views.plan_operations(lab.app.store) if o["object"] == NEWS]
    assert [(o["sort"], o["state"], o["stopped_marketing"]) for o in added] == [("add", "held", True)] * 2
    lab.cycle()
    assert lab.keys(NEWS) == {"p0"}


def test_nobody_who_stopped_marketing_gets_it_as_marketing(lab: Lab) -> None:
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p1", "flag"}, "who left the topic is not among them"
    assert lab.status("flag") == lab.status("p1") == "unsubscribed"
    assert lab.send(NEWS) == {"p0"}
    mail = lab.world.send("mc", NEWS, classification="transactional")
    assert {email.split("@")[0] for email in mail["mailed"]} == {"p0", "p1", "flag"}
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    assert plan.notes == ()


def test_it_is_marketing_again(lab: Lab) -> None:
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.settle()
    lab.reopen(COMMERCIAL)
    lab.settle()
    assert lab.keys(NEWS) == {"p0"}, "opt-outs are not held, whatever the mapping"
