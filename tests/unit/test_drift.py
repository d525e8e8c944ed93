"""state/drift.py, by itself."""

from __future__ import annotations

from pathlib import Path

from state import drift
from tests.system.lab import Lab


def test_an_audience_without_a_page_can_be_the_first_to_end(tmp_path: Path) -> None:
    """One that is still to be created has no page; which of them all ends first is a matter of luck."""
    with Lab(tmp_path) as lab:
        audience = lab.app.compile().relations.audiences[0]
        assert lab.app.store.walk(lambda conn, after, most: drift.vanish(conn, audience, 0, after, most), 0) == 0
        lab.app.store.write(lambda conn: drift.finish(conn, audience, 1, 0))
