"""A topic gets another id, or goes: what was said about it is still known."""

from __future__ import annotations

from pathlib import Path

import pytest

from mappings.problems import MappingProblems
from tests.system.lab import MAPPING, NEWS, OFFERS, ONLY_AT_THE_PROVIDER, Lab


def renamed(text: str, was: str = "") -> str:
    """The mapping with the topic news under the id bulletin."""
    return (text.replace("  news:\n    name: News", f"  bulletin:\n    name: News{was}")
            .replace("      news: {publication", "      bulletin: {publication"))


WAS = "\n    was: [news]"


def without_news(text: str) -> str:
    """The mapping without the topic news."""
    kept = text[:text.index("  news:\n    name")] + text[text.index("segments:"):]
    return "".join(line for line in kept.splitlines(True) if not line.startswith("      news: "))


@pytest.mark.parametrize("text", [MAPPING, ONLY_AT_THE_PROVIDER], ids=["boxes", "provider only"])
def test_a_refusal_goes_along_to_the_new_id(tmp_path: Path, text: str) -> None:
    with Lab(tmp_path, text) as lab:
        lab.contacts(3)
        lab.link()
        lab.unsubscribe("p1", "L2")
        lab.unsubscribe("p2", "L2")
        lab.settle()
        lab.advance(3600)
        lab.world.act("mc", "resubscribe", email="p2@mail.example", list="L2")
        lab.settle()
        before = lab.entries()
        lab.use(renamed(text, WAS))
        assert lab.send(NEWS) == {"p0", "p2"}
        assert lab.entries() == before, "boxes that meant news mean bulletin: nothing was said anew"
        lab.unsubscribe("p0", "L2")
        lab.settle()
        assert lab.send(NEWS) == {"p2"}


def test_a_record_that_leaves_takes_along_what_was_said_under_the_former_id(tmp_path: Path) -> None:
    with Lab(tmp_path, ONLY_AT_THE_PROVIDER) as lab:
        lab.contact("eva", email="team@mail.example")
        lab.contact("twin", email="team@mail.example", first_name="Eva")
        lab.contact("ann")
        lab.link()
        [key] = lab.keys(NEWS) - {"ann"}
        lab.world.act("mc", "unsubscribe", email="team@mail.example", list="L2", key=lab.ids[key])
        lab.settle()
        lab.use(renamed(ONLY_AT_THE_PROVIDER, WAS))
        lab.edit("eva", email="eva@mail.example")
        lab.edit("twin", email="twin@mail.example")
        lab.settle()
        assert lab.keys(NEWS) == {"ann"}


@pytest.mark.parametrize("gone", [renamed, without_news])
def test_a_topic_that_somebody_refused_cannot_vanish(tmp_path: Path, gone: object) -> None:
    assert callable(gone)
    with Lab(tmp_path, ONLY_AT_THE_PROVIDER) as lab:
        lab.contacts(2)
        lab.link()
        lab.unsubscribe("p1", "L2")
        lab.settle()
        lab.reopen(gone(ONLY_AT_THE_PROVIDER))
        with pytest.raises(MappingProblems, match=r'The topic "news" is gone, and \d+ opt-outs of it .*was: \[news\]'):
            lab.cycle()
        assert lab.keys(OFFERS) == {"p0", "p1"}
        lab.reopen(ONLY_AT_THE_PROVIDER)
        lab.settle()
        assert lab.keys(NEWS) == {"p0"}


def test_a_topic_that_nobody_refused_may_go(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.use(without_news(MAPPING))
    assert lab.keys(OFFERS) == {"p0", "p1"}


def test_a_box_that_copies_an_old_refusal_is_unticked_for_who_came_back_under_the_former_id(tmp_path: Path) -> None:
    """Connect copied what she told the provider. She came back, the CRM refused that then, and the topic was renamed."""
    with Lab(tmp_path, tracked=["no_news"]) as lab:
        lab.contacts(2)
        lab.link()
        lab.advance(3600)
        lab.unsubscribe("p1", "L2")
        lab.world.act("sf", "edit", object="Contact", id=lab.ids["p1"], by="connect", set={"no_news": 1})
        lab.settle()
        assert lab.rows("SELECT field FROM echo") == [("no_news",)]
        lab.advance(3600)
        lab.world.fault("reject", connection="sf", keys=[lab.ids["p1"]], count=None)
        lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L2")
        lab.settle()
        lab.world.clear_faults()
        lab.use(renamed(MAPPING, WAS))
        lab.edit("p1", first_name="Zoe")
        lab.settle()
        assert "p1" in lab.send(NEWS)
        assert lab.flags("p1")["no_news"] == 0
