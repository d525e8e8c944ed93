"""An audience that cannot be made, or not be written as it stands: what an admin mends at the provider works with the next
`syncd once`, while a service asks only now and then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from connectors.errors import Misconfigured
from connectors.memory import MemoryConnector
from syncd.model import Batch, Op, Outcome
from tests.system.lab import MAPPING, NEWS, OFFERS, Lab

FRESH = "de:FRESH"
CREATE = MAPPING.replace("data_extension: {key: NEWS}", "data_extension: {key: FRESH, create: true}")
assert CREATE != MAPPING


def linked(lab: Lab) -> None:
    lab.contacts(3)
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)


@pytest.mark.parametrize("mended", ["rights", "by hand"])
def test_an_audience_that_could_not_be_created_gets_its_rows_as_soon_as_it_can(tmp_path: Path, mended: str) -> None:
    with Lab(tmp_path, CREATE) as lab:
        linked(lab)
        lab.world.fault("reject", connection="mc", verb="apply", object=FRESH, keys=[FRESH], count=None)
        report = lab.cycle()
        error = report.delivered["mc"].error
        assert error is not None
        assert "could not be created" in str(error)
        assert report.delivered["mc"].counts["done"], "what goes elsewhere goes"
        assert lab.keys(OFFERS) == {"p0", "p1", "p2"}
        assert lab.rows("SELECT count(*), max(o.attempts), max(o.not_before) FROM queued w JOIN operation o ON o.id = w.id"
                        " JOIN object b ON b.id = o.object WHERE b.name = ?", FRESH) == [(3, 0, None)]
        before = lab.now()
        lab.world.clear_faults()
        if mended == "by hand":
            text = orjson.dumps({"name": "Fresh", "key": "FRESH", "primary_key": "key", "email_field": "email",
                                 "fields": [{"name": "first_name", "type": "text"}]}).decode()
            definition = Batch("create_object", FRESH, ("definition",), [Op(0, FRESH, None, (text,))])
            [made] = lab.world.connector("mc").apply(definition)
            assert made.state == "done"
        lab.cycle()
        assert lab.now() - before < 60_000_000
        assert lab.keys(FRESH) == {"p0", "p1", "p2"}


def test_a_column_that_was_missing_is_written_by_the_next_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True
    apply = MemoryConnector.apply

    def refuse(self: MemoryConnector, batch: Batch) -> Sequence[Outcome]:
        if broken and batch.object == NEWS:
            raise Misconfigured("Data extension NEWS has no column first_name.", code="NO_COLUMN")
        return apply(self, batch)
    monkeypatch.setattr(MemoryConnector, "apply", refuse)
    with Lab(tmp_path) as lab:
        linked(lab)
        assert lab.cycle().delivered["mc"].error is not None
        assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p0", "p1", "p2"}, set())
        broken = False
        lab.cycle(wait=False)
        assert lab.keys(NEWS) == set(), "a service waits for its time"
        lab.cycle()
        assert lab.keys(NEWS) == {"p0", "p1", "p2"}
