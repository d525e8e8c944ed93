"""Listings that end early without a word: nobody is given a second key, wanted where they had left, or taken for gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.memory import MemoryConnector
from syncd.desk.resync import Resync
from syncd.model import Page, StreamSpec
from tests.system.lab import DAY, MAPPING, NEWS, OFFERS, Lab

LEGACY = {f"legacy-{n}": f"p{n}@mail.example" for n in range(6)}
CUT: dict[str, Any] = {"connection": "mc", "rows": 2, "silent": True}
SILENT: dict[str, Any] = {"silent_cuts": True}


def company(lab: Lab) -> None:
    """Six people whom the provider knows under keys of its own; two of them have left the list of news."""
    lab.contacts(6)
    lab.world.act("mc", "import", list="L2", members=LEGACY)
    for n in (3, 5):
        lab.world.act("mc", "unsubscribe", email=f"p{n}@mail.example", list="L2")


def calls(lab: Lab) -> int:
    return int(lab.world.counters("mc")["calls"])


@pytest.mark.parametrize("stream", ["subscribers", "list:L2"])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_a_first_listing_is_read_until_two_agree(tmp_path: Path, stream: str, skip: int) -> None:
    with Lab(tmp_path, esp=SILENT) as lab:
        company(lab)
        lab.world.fault("truncate", object=stream, count=1, skip=skip, **CUT)
        lab.link()
        assert lab.keys(NEWS) == set(LEGACY) - {"legacy-3", "legacy-5"}
        assert lab.rows("SELECT count(*) FROM subscriber_key WHERE existing = 0") == [(0,)]


def test_without_that_care_the_cut_shows(tmp_path: Path) -> None:
    """What the test above can see at all."""
    with Lab(tmp_path) as lab:
        company(lab)
        lab.world.fault("truncate", object="subscribers", count=1, **CUT)
        lab.link()
        assert lab.rows("SELECT count(*) FROM subscriber_key WHERE existing = 0") != [(0,)]


def test_a_first_listing_whose_proof_fails_is_no_first_listing(tmp_path: Path) -> None:
    """The vendor breaks down between the two readings: nothing is planned, and the next cycle begins anew."""
    with Lab(tmp_path, esp=SILENT) as lab:
        company(lab)
        lab.world.fault("truncate", object="list:L2", count=1, **CUT)
        lab.world.fault("unauthorised", connection="mc", verb="changes", object="list:L2", skip=1, count=1)
        report = lab.cycle(deliver=False)
        assert list(report.pulled.failed) == ["mc.list:L2"]
        assert report.plan is None
        lab.link()
        assert lab.keys(NEWS) == set(LEGACY) - {"legacy-3", "legacy-5"}


def test_a_provider_that_never_ends_to_change_is_believed_after_some_readings(tmp_path: Path) -> None:
    with Lab(tmp_path, esp=SILENT) as lab:
        company(lab)
        lab.world.fault("truncate", object="subscribers", count=1, **CUT)
        newcomer = {"do": "import", "connection": "mc", "list": "L1"}
        for n in range(8):
            lab.world.fault("act", connection="mc", verb="changes", object="subscribers", skip=n, count=1, acts=[
                newcomer | {"members": {f"new-{n}": f"new{n}@elsewhere.example"}}])
        lab.link()
        assert lab.keys(OFFERS) == set(LEGACY)


@pytest.mark.parametrize("stream", ["subscribers", "list:L2"])
def test_later_nobody_is_gone_because_one_listing_was_cut(tmp_path: Path, stream: str) -> None:
    with Lab(tmp_path, esp=SILENT) as lab:
        company(lab)
        lab.link()
        before = lab.rows("SELECT container, key, status FROM remote_status ORDER BY 1, 2")
        lab.advance(DAY)
        lab.world.fault("truncate", object=stream, count=1, **CUT)
        lab.settle()
        assert lab.rows("SELECT container, key, status FROM remote_status ORDER BY 1, 2") == before


def test_later_no_row_vanished_because_one_listing_was_cut(tmp_path: Path) -> None:
    with Lab(tmp_path, esp=SILENT) as lab:
        company(lab)
        lab.link()
        lab.advance(DAY)
        lab.world.fault("truncate", object=NEWS, count=1, **CUT)
        lab.settle()
        assert lab.holds() == ()
        lab.world.act("mc", "delete_rows", audience=NEWS, keys=["legacy-1"])
        lab.advance(DAY)
        lab.settle()
        assert lab.hold("vanished").reason.startswith("1 rows")


def test_rows_that_were_there_before_are_all_seen(tmp_path: Path) -> None:
    """The row of somebody who refused goes, although the first listing did not show it."""
    with Lab(tmp_path, esp=SILENT) as lab:
        company(lab)
        lab.world.act("mc", "write_rows", audience=NEWS, rows={
            f"file-{n}": {"email": f"p{n}@mail.example"} for n in range(6)})
        lab.world.fault("truncate", object=NEWS, count=1, **CUT)
        lab.link()
        assert {"file-3", "file-5"}.isdisjoint(lab.keys(NEWS))


def test_listings_are_read_twice_once_and_only_where_they_may_be_cut(tmp_path: Path) -> None:
    found = []
    for name, options in (("sure", {}), ("silent", SILENT)):
        (tmp_path / name).mkdir()
        with Lab(tmp_path / name, MAPPING, esp=options) as lab:
            company(lab)
            lab.cycle(deliver=False)
            first = calls(lab)
            lab.cycle(full=True, deliver=False)
            found.append((first, calls(lab) - first))
    (sure_first, sure_later), (silent_first, silent_later) = found
    assert silent_first > sure_first
    assert silent_later == sure_later


@pytest.mark.parametrize("care", [True, False])
def test_a_refusal_that_only_an_event_tells_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           care: bool) -> None:
    """Somebody's import overwrote it before the link; the vendor's cursor is a time: what was cut is not read later."""
    changes, begun = MemoryConnector.changes, []

    def cut(self: MemoryConnector, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        pages = list(changes(self, spec, cursor))
        if spec.kind == "event" and cursor is None:
            begun.append(spec)
            if len(begun) == 1:
                return iter([Page(pages[0].rows[:2], pages[-1].cursor, last=True)])
        return iter(pages)
    monkeypatch.setattr(MemoryConnector, "changes", cut)
    with Lab(tmp_path, esp={"silent_cuts": care}) as lab:
        company(lab)
        lab.world.act("mc", "unsubscribe", email="p1@mail.example", list="L2")
        lab.world.act("mc", "import", list="L2", members={"legacy-1": "p1@mail.example"}, status="subscribed")
        lab.link()
        assert ("legacy-1" in lab.keys(NEWS)) == (not care)


def test_a_comparison_that_somebody_asks_for_takes_nobody_for_gone_either(tmp_path: Path) -> None:
    with Lab(tmp_path, esp=SILENT) as lab:
        lab.contacts(6)
        lab.link()
        about: Any = SimpleNamespace(store=lab.app.store, app=lab.app, mapping=lab.app.mapping, compiled=lab.app.compiled)
        for skip in (0, 1):
            lab.world.fault("truncate", object=NEWS, count=1, skip=skip, **CUT)
            found = Resync(about, destination="mc").prepare(lab.app.cycle())
            assert found[NEWS] == "6 rows, 0 vanished, 0 different, 0 of others"
            lab.world.clear_faults()
