"""state/drift.py, by itself."""

from __future__ import annotations

from pathlib import Path

from state import drift
from state.pace import Pace
from tests.system.lab import Lab
from tests.unit.state_lab import StateLab


def test_an_audience_without_a_page_can_be_the_first_to_end(tmp_path: Path) -> None:
    """One that is still to be created has no page; which of them all ends first is a matter of luck."""
    with Lab(tmp_path) as lab:
        audience = lab.app.compile().relations.audiences[0]
        assert lab.app.store.walk(lambda conn, after, most: drift.vanish(conn, audience, 0, after, most), 0) == 0
        lab.app.store.write(lambda conn: drift.finish(conn, audience, 1, 0))


def test_every_foreign_row_of_an_owned_audience_is_removed_once_and_not_once_it_is_gone(tmp_path: Path) -> None:
    lab = StateLab(tmp_path)
    [audience] = lab.rel.audiences

    def own() -> list[str]:
        lab.store.walk(lambda conn, after, most: drift.own(conn, audience, 1, after, most), "", Pace(1))
        return [key for (key,) in lab.rows("SELECT key FROM operation WHERE kind = 'remove' AND state = 0 ORDER BY key")]
    lab.store.write(lambda conn: conn.executemany(
        "INSERT INTO foreign_row (object, key, sweep) VALUES (?, ?, 1)", [(audience.object, key) for key in "abc"]))
    assert own() == ["a", "b", "c"]
    assert own() == ["a", "b", "c"]
    lab.store.write(lambda conn: conn.execute("DELETE FROM foreign_row WHERE key = 'b'"))
    assert own() == ["a", "c"]
    lab.close()
