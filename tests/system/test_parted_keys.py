"""When a person parts, the subscriber key that is a record's own id goes with that record, whichever was read first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.lab import MAPPING, NEWS, OFFERS, Lab

SHARED, MOVED = "both@mail.example", "elsewhere@mail.example"


def addresses(lab: Lab, audience: str) -> dict[str, str]:
    """By the name of the record whose id the key is, else by the key."""
    names = {rid: name for name, rid in lab.ids.items()}
    return {names.get(r["key"], r["key"]): r["email"] for r in lab.world.truth()["mc"]["audiences"][audience]["rows"]}


@pytest.mark.parametrize("existing", ["match_email", "refuse"])
@pytest.mark.parametrize("leaver", ["ann", "twin"])
@pytest.mark.parametrize(("reading", "keyed"), [("at once", "twin"), ("one by one", "ann")])
def test_a_record_keeps_its_own_id_as_key(tmp_path: Path, reading: str, keyed: str, leaver: str, existing: str) -> None:
    """Of the two, the twin is read last; read at once she gives the key, as what was changed last gives the attributes."""
    with Lab(tmp_path, MAPPING.replace("match_email", existing)) as lab:
        for name in ("ann", "twin"):
            lab.contact(name, first_name="Ann", email=SHARED)
            lab.advance(60)
            if reading == "one by one":
                lab.cycle(deliver=False)
        lab.link()
        assert addresses(lab, NEWS) == {keyed: SHARED}
        lab.unsubscribe(keyed, "L1")
        lab.settle()
        lab.edit(leaver, email=MOVED)
        lab.settle()
        stayed = "twin" if leaver == "ann" else "ann"
        assert addresses(lab, NEWS) == {leaver: MOVED, stayed: SHARED}
        assert addresses(lab, OFFERS) == {}
        assert [lab.status(name, "L1") for name in ("ann", "twin")] == ["unsubscribed"] * 2


def test_a_subscriber_with_a_records_id_goes_with_that_record(tmp_path: Path) -> None:
    """It was there before us; whatever it refused counts for both from then on."""
    with Lab(tmp_path) as lab:
        for name in ("ann", "twin"):
            lab.contact(name, first_name="Ann", email=SHARED)
            lab.advance(60)
        lab.world.act("mc", "import", list="L2", members={lab.ids["ann"]: SHARED, lab.ids["twin"]: SHARED})
        lab.link()
        [(kept, _)] = addresses(lab, NEWS).items()
        lab.edit(kept, email=MOVED)
        lab.settle()
        assert addresses(lab, NEWS)[kept] == MOVED


@pytest.mark.parametrize("leaver", ["ann", "twin"])
def test_an_address_is_the_key_of_whoever_stays_there(tmp_path: Path, leaver: str) -> None:
    """Whichever was read first, and gives the person her number."""
    with Lab(tmp_path, MAPPING.replace("value: crm_id", "value: email")) as lab:
        for name in ("ann", "twin"):
            lab.contact(name, first_name="Ann", email=SHARED)
            lab.advance(60)
        lab.link()
        lab.world.act("mc", "unsubscribe", email=SHARED, list="L1", key=SHARED)
        lab.settle()
        lab.edit(leaver, email=MOVED)
        lab.settle()
        assert addresses(lab, NEWS) == {SHARED: SHARED, MOVED: MOVED}
        assert addresses(lab, OFFERS) == {}
        assert [lab.status(key, "L1") for key in (SHARED, MOVED)] == ["unsubscribed"] * 2
        assert lab.rows("SELECT reason FROM quarantine WHERE closed_at IS NULL") == []
