"""Lists of digests stop mail to whatever address turns out to have one, however and whenever its text becomes known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from state import journal
from state import suppressions as state
from syncd.desk import suppressions
from tests.system.lab import DAY, HOUR, NEWS, OFFERS, Lab

ZOE = "zoe@mail.example"


def take(lab: Lab, topic: str, value: str) -> None:
    """An old list of one who does not want a topic."""
    config: Any = SimpleNamespace(hash_key=SimpleNamespace(reveal=lambda: "lab"))
    done = suppressions.take(lab.app.store, lab.app.mapping, config, [value], topic=topic, evidence=None, by=None,
                             dry_run=False, now=lab.now())
    assert done["written"] == 1


def row(lab: Lab) -> None:
    lab.world.act("mc", "write_rows", audience=NEWS, rows={"of old": {"email": ZOE, "first_name": "Zoe"}})


STEPS: Mapping[str, Callable[[Lab], object]] = {
    "another list": lambda lab: take(lab, "offers", ZOE),
    "digest": lambda lab: take(lab, "news", hashlib.sha256(ZOE.encode()).hexdigest()),
    "row": row,
    "record": lambda lab: lab.contact("zoe"),
}


@pytest.mark.parametrize("order", [
    ("row", "digest"), ("another list", "row", "digest"), ("another list", "digest", "row"),
    ("digest", "another list", "row"), ("another list", "row", "record", "digest")], ids=", ".join)
def test_a_row_that_is_not_ours_goes_where_a_digest_refused_its_address(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Another list made the address known by its keyed hash alone."""
    with Lab(tmp_path) as lab:
        lab.contacts(2)
        lab.link()
        for step in order:
            STEPS[step](lab)
            lab.cycle(full=True)
        lab.settle()
        assert lab.send(NEWS) == {"p0", "p1"}


@pytest.mark.parametrize(("asked", "mailed"), [(-HOUR, {"p0", "p1"}), (DAY, {"p0", "p1", "zoe"})], ids=["before", "after"])
@pytest.mark.parametrize("restored", [False, True])
def test_a_digest_says_what_its_list_said_when_it_was_imported(tmp_path: Path, asked: float, mailed: set[str],
                                                               restored: bool) -> None:
    """Not when somebody comes to have the address: who asked in between wants it."""
    with Lab(tmp_path) as lab:
        lab.contacts(2)
        lab.link()
        lab.advance(DAY)
        imported = lab.now()
        take(lab, "offers", hashlib.sha256(ZOE.encode()).hexdigest())
        if restored:
            lab.app.store.write(lambda conn: conn.execute("DELETE FROM digest").rowcount)
            notes = journal.notes(tmp_path / "journal.log")
            lab.app.store.write(lambda conn: state.restore(conn, notes))
        lab.advance(2 * DAY)
        lab.contact("zoe", offers_at=imported + int(asked * 1e6), offers_how="web")
        lab.settle()
        assert lab.keys(OFFERS) == mailed
