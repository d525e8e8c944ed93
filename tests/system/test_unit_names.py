"""A business unit under another name is the same one: its connection tells, and a topic that is limited to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from syncd.desk import suppressions
from tests.system.lab import DAY, MAPPING, NEWS, OFFERS, Lab


def unit(name: str) -> str:
    return MAPPING.replace("purpose: marketing", f"purpose: marketing\n    unit: {name}").replace(
        "    connection: mc\n", f"    connection: mc\n    unit: {name}\n")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Of three people p1 stopped all mail of the unit."""
    with Lab(tmp_path, unit("shop")) as made:
        made.contacts(3)
        made.link()
        made.unsubscribe("p1")
        made.settle()
        assert made.keys(NEWS) == {"p0", "p2"}
        yield made


def test_whoever_stopped_its_mail_gets_none(lab: Lab) -> None:
    lab.reopen(unit("store"))
    lab.advance(DAY)
    lab.settle()
    assert lab.holds() == ()
    assert lab.keys(NEWS) == lab.keys(OFFERS) == {"p0", "p2"}


def take(lab: Lab, *names: str) -> int:
    """An old list of who does not want news; how many statements it made."""
    config: Any = SimpleNamespace(hash_key=SimpleNamespace(reveal=lambda: "lab"))
    return int(suppressions.take(lab.app.store, lab.app.mapping, config, [f"{n}@mail.example" for n in names], topic="news",
                                 evidence=None, by=None, dry_run=False, now=lab.now())["written"])


def test_an_imported_refusal_of_its_topic_stands_and_is_known(lab: Lab) -> None:
    assert take(lab, "p0") == 1
    lab.settle()
    assert lab.keys(NEWS) == {"p2"}
    lab.reopen(unit("store"))
    lab.settle()
    assert (lab.holds(), lab.keys(NEWS)) == ((), {"p2"})
    assert take(lab, "p0") == 0


def test_without_a_name_it_is_the_same_too(lab: Lab) -> None:
    take(lab, "p0")
    lab.settle()
    lab.reopen(MAPPING)
    lab.settle()
    assert (lab.holds(), lab.keys(NEWS)) == ((), {"p2"})
