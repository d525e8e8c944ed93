"""After a merge of two records that were known at the provider: which of the two keys stays does not depend on which record
was read first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import MAPPING, NEWS, OFFERS, RICH, Lab

BOTH = [("ann", "old"), ("old", "ann")]
"""In which order the records come: the one that survives is ann's."""


@pytest.fixture(params=BOTH, ids=["survivor-first", "survivor-last"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(tmp_path) as found:
        for name in request.param:
            found.contact(name, first_name="Ann")
        found.contact("bob")
        yield found


def merge(lab: Lab) -> None:
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["old"], into=lab.ids["ann"])
    lab.settle()
    lab.settle()


def news(lab: Lab) -> set[str]:
    return lab.keys(NEWS)


def addresses(lab: Lab, audience: str) -> list[str]:
    """Those of an audience's rows, as often as they stand there."""
    return sorted(r["email"] for r in lab.world.truth()["mc"]["audiences"][audience]["rows"])


def test_the_surviving_records_key_stays(lab: Lab) -> None:
    lab.link()
    assert news(lab) == {"ann", "old", "bob"}
    merge(lab)
    assert news(lab) == lab.keys(OFFERS) == {"ann", "bob"}
    lab.edit("ann", first_name="Anna")
    lab.settle()
    row = lab.row(NEWS, "ann")
    assert row is not None
    assert row["first_name"] == "Anna"
    assert lab.send(NEWS) == {"ann", "bob"}


def test_the_key_of_a_subscriber_stays_where_the_other_never_became_one(lab: Lab) -> None:
    """Nobody has sent to the rows yet: only the former record's key was a subscriber before."""
    lab.world.act("mc", "import", list="L2", members={lab.ids["old"]: "old@mail.example"})
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.settle()
    merge(lab)
    assert news(lab) == {"old", "bob"}


def test_every_refusal_goes_along_before_a_row(lab: Lab) -> None:
    lab.link()
    lab.unsubscribe("old", "L1")
    lab.settle()
    merge(lab)
    assert lab.keys(OFFERS) == {"bob"}
    assert news(lab) == {"ann", "bob"}
    assert (lab.status("ann", "L1"), lab.status("old", "L1")) == ("unsubscribed", "unsubscribed")
    lab.unsubscribe("old", "L2")  # by the link in an old mail
    lab.settle()
    assert news(lab) == {"bob"}
    assert lab.status("ann", "L2") == "unsubscribed"


def test_the_row_under_the_key_that_goes_stays_until_the_other_stands(lab: Lab) -> None:
    """The other one waits for a refusal of another topic, which must be written first and cannot be for now."""
    lab.link()
    lab.world.fault("reject", connection="mc", verb="apply", object="L2", keys=[lab.ids["ann"], lab.ids["old"]], count=None)
    lab.edit("ann", no_news=1)
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["old"], into=lab.ids["ann"])
    for _ in range(4):
        lab.cycle(wait=False)
        assert "ann@mail.example" in addresses(lab, OFFERS)
    lab.world.clear_faults()
    lab.advance(7_200)
    lab.settle()
    lab.settle()
    assert lab.keys(OFFERS) == {"ann", "bob"}
    assert addresses(lab, OFFERS) == ["ann@mail.example", "bob@mail.example"]
    assert news(lab) == {"bob"}


def test_nobody_moves_twice(lab: Lab) -> None:
    lab.link()
    merge(lab)
    before = lab.rows("SELECT * FROM subscriber_key ORDER BY key")
    lab.edit("ann", last_name="Doe-Ray")
    lab.settle()
    assert lab.rows("SELECT * FROM subscriber_key ORDER BY key") == before
    assert lab.rows("SELECT 1 FROM subscriber_key WHERE until < 0") == []


def test_of_two_surviving_records_one_keeps_the_key(tmp_path: Path) -> None:
    """Whoever has moved to the key of the one does not move on to that of the other."""
    with Lab(tmp_path) as lab:
        for name in ("old", "ann", "twin"):
            lab.contact(name, first_name="Ann")
        lab.link()
        lab.edit("twin", email="ann@mail.example")
        merge(lab)
        assert news(lab) == {"ann"}
        assert lab.rows("SELECT count(*) FROM subscriber_key WHERE until > 0") == [(1,)]


def test_a_subscriber_of_whom_only_a_list_tells_is_known(lab: Lab) -> None:
    """Marketing Cloud's subscribers tell of changes alone, and nothing ever changed about her."""
    lab.link()
    lab.app.store.write(lambda conn: conn.execute(
        "DELETE FROM remote_status WHERE container = '' AND key = ?", (lab.ids["ann"],)).rowcount)
    merge(lab)
    assert news(lab) == {"ann", "bob"}


@pytest.mark.parametrize("cycles", range(4))
@pytest.mark.parametrize("value", ["crm_id", "email"])
def test_a_merge_that_is_undone_gives_each_their_key_back(tmp_path: Path, value: str, cycles: int) -> None:
    """However far the move to the surviving record's key had come; and no row is left at the other's address."""
    with Lab(tmp_path, MAPPING.replace("{value: crm_id,", f"{{value: {value},")) as lab:
        lab.contact("old")
        lab.contact("ann", spent="500")
        lab.link()
        keys = lab.rows("SELECT person, key, until FROM subscriber_key ORDER BY person")
        lab.world.act("sf", "merge", object="Contact", id=lab.ids["old"], into=lab.ids["ann"])
        for _ in range(cycles):
            lab.cycle()
        lab.world.act("sf", "undelete", object="Contact", id=lab.ids["old"])
        lab.settle()
        assert lab.rows("SELECT person, key, until FROM subscriber_key WHERE until <= 0 ORDER BY person") == keys
        assert addresses(lab, NEWS) == ["ann@mail.example", "old@mail.example"]
        assert addresses(lab, RICH) == ["ann@mail.example"]


@pytest.mark.parametrize("second", ["cleo", None], ids=["into-another", "deleted"])
def test_a_key_goes_along_with_a_record_that_is_merged_again(tmp_path: Path, second: str | None) -> None:
    """Ann's record was merged into bob's, and is taken apart from it again while bob's is merged into cleo's, or deleted:
    what is said under the key that is bob's own is not ann's word where somebody still is bob."""
    with Lab(tmp_path) as lab:
        for name in ("ann", "bob", "cleo"):
            lab.contact(name)
        lab.link()
        lab.world.act("sf", "merge", object="Contact", id=lab.ids["ann"], into=lab.ids["bob"])
        lab.settle()
        lab.settle()
        assert lab.keys(NEWS) == {"bob", "cleo"}
        if second is None:
            lab.world.act("sf", "delete", object="Contact", id=lab.ids["bob"])
        else:
            lab.world.act("sf", "merge", object="Contact", id=lab.ids["bob"], into=lab.ids[second])
        lab.world.act("sf", "undelete", object="Contact", id=lab.ids["ann"])
        lab.settle()
        lab.settle()
        assert addresses(lab, NEWS) == ["ann@mail.example", "cleo@mail.example"]
        assert ("bob" in lab.keys(NEWS)) is (second is None)
