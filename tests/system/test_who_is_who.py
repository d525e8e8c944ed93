"""Who is one person follows the mapping as it is, and the records as they are, whenever either changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.lab import MAPPING, NEWS, Lab, couple, separate

FILTERED = MAPPING.replace("    sf.Contact:\n      attr", "    sf.Contact:\n      where: \"spent > 0\"\n      attr")


def pair(lab: Lab) -> None:
    """Two records of one person, beside two names at one address and somebody else."""
    couple(lab)
    lab.contact("zoe")
    lab.contact("zoe2", email="zoe@mail.example", first_name="Zoe")


@pytest.mark.parametrize(("same_email", "mailed"), [
    ("separate", {"eva", "tom", "ann", "zoe", "zoe2"}), ("exclude", {"ann"}), ("one_person", {"ann", "zoe"})])
def test_what_one_address_means_may_change(tmp_path: Path, same_email: str, mailed: set[str]) -> None:
    """From whatever it was: so it would be had it been so from the beginning."""
    for before in {"one_person", "separate", "exclude"} - {same_email}:
        (tmp_path / before).mkdir()
        with Lab(tmp_path / before, separate(before)) as lab:
            pair(lab)
            lab.link()
            lab.use(separate(same_email))
            assert lab.keys(NEWS) == mailed, before


def test_who_refused_stays_out_with_all_records_that_were_hers(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        pair(lab)
        lab.link()
        lab.unsubscribe("zoe", "L2")
        lab.settle()
        lab.use(separate())
        assert lab.keys(NEWS) == {"eva", "tom", "ann"}


def test_a_record_that_the_filter_leaves_out_raises_no_doubt(tmp_path: Path) -> None:
    with Lab(tmp_path, FILTERED) as lab:
        couple(lab)
        lab.link()
        assert lab.keys(NEWS) == {"ann"}
        lab.edit("tom", spent="0")
        lab.settle()
        assert lab.keys(NEWS) == {"ann", "eva"}
        lab.edit("tom", spent="5")
        lab.settle()
        assert lab.keys(NEWS) == {"ann"}
