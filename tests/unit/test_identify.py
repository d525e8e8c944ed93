"""Components of records: joined by present addresses and by merges, split again, and never by guessing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import identify
from tests.unit.state_lab import StateLab, contact, contacts

SAME = "same@mail.example"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def ambiguous(lab: StateLab) -> list[tuple[int, str]]:
    return [(person, reason) for person, reason in lab.rows("SELECT person, reason FROM ambiguous ORDER BY person")]


def test_records_without_company_are_people_of_their_own(lab: StateLab) -> None:
    lab.put(*contacts(3), contact(4, email=None), contact(5, email=None))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c2": 2, "c3": 3, "c4": 4, "c5": 5}


def test_one_address_joins_and_a_new_address_splits(lab: StateLab) -> None:
    lab.put(*contacts(3, name="Ann"))
    lab.put(contact(3, name="Ann", email="C1@mail.example"))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c2": 2, "c3": 1}
    lab.put(contact(1, name="Ann", email="c2@mail.example"))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c2": 1, "c3": 3}
    lab.put(contact(1, name="Ann", email="other@mail.example"))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c2": 2, "c3": 3}


def test_the_part_with_the_record_first_seen_keeps_the_id(lab: StateLab) -> None:
    lab.put(*(contact(n, name="Ann", email=SAME) for n in (1, 2, 3)))
    lab.identify()
    assert set(lab.persons().values()) == {1}
    lab.put(contact(1, name="Ann", email="away@mail.example"))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c2": 2, "c3": 2}


def test_deletion_keeps_the_address_and_so_the_person(lab: StateLab) -> None:
    lab.put(contact(1, name="Ann"))
    lab.put({"id": "c1", "deleted": 1})
    lab.put(contact(9, name="Ann", email="c1@mail.example"))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c9": 1}


def test_a_merge_joins_whatever_the_addresses_and_an_unmerge_splits(lab: StateLab) -> None:
    lab.put(*contacts(3))
    lab.put(contact(1, deleted=1, merged="c3"))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c2": 2, "c3": 1}
    lab.put(contact(1))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c2": 2, "c3": 3}


def test_a_merge_into_a_record_that_comes_later_joins_when_it_comes(lab: StateLab) -> None:
    lab.put(contact(1, deleted=1, merged="c9"))
    lab.identify()
    lab.put(contact(9))
    lab.identify()
    assert lab.persons() == {"c1": 1, "c9": 1}


def test_chains_of_merges_are_one_person(lab: StateLab) -> None:
    lab.put(*contacts(4))
    lab.put(contact(4, deleted=1, merged="c3"), contact(3, deleted=1, merged="c2"), contact(2, deleted=1, merged="c1"))
    lab.identify()
    assert set(lab.persons().values()) == {1}


def test_different_names_are_in_doubt_and_equal_ones_are_not(lab: StateLab) -> None:
    lab.put(contact(1, name="Ann Doe", email=SAME), contact(2, name="ANN DOE", email=SAME))
    lab.identify()
    assert ambiguous(lab) == []
    lab.put(contact(3, name="Tom Doe", email=SAME))
    lab.identify()
    assert ambiguous(lab) == [(1, "different_names")]
    lab.put(contact(3, name="Tom Doe", email=SAME, deleted=1))
    lab.identify()
    assert ambiguous(lab) == []


def test_names_are_the_same_in_any_case_and_encoding() -> None:
    same: list[list[str | None]] = [
            ["Zoë", "Doe"], ["ZOË", "doe"], [unicodedata.normalize("NFD", "Zoë"), "Doe"], ["Zoë Doe"],
            [None, "Zoë", "", "Doe "], ["Zoë ", "  Doe"]]
    assert {identify.fold_name(parts) for parts in same} == {"zoë doe"}
    assert identify.fold_name(["Zoe", "Doe"]) != identify.fold_name(["Zoë", "Doe"])
    assert identify.fold_name([None, ""]) == ""


def test_a_corrected_name_ends_the_doubt(lab: StateLab) -> None:
    lab.put(contact(1, name="Ann", email=SAME), contact(2, name="Tom", email=SAME))
    lab.identify()
    assert ambiguous(lab) == [(1, "different_names")]
    lab.put(contact(2, name="Ann", email=SAME))
    lab.identify()
    assert ambiguous(lab) == []


def test_records_that_a_filter_excludes_by_their_id_raise_no_doubt(tmp_path: Path) -> None:
    lab = StateLab(tmp_path)
    lab.rel = replace(lab.rel, sources=(replace(lab.rel.sources[0], where="r.rid <> 'c2'"),))
    lab.put(contact(1, name="Ann", email=SAME), contact(2, name="Tom", email=SAME))
    lab.identify()
    assert ambiguous(lab) == []
    lab.close()


def test_more_than_five_live_records_are_in_doubt(lab: StateLab) -> None:
    lab.put(*(contact(n, name="Ann", email=SAME) for n in range(1, 7)))
    lab.identify()
    assert ambiguous(lab) == [(1, "too_many_records")]
    lab.put(contact(6, name="Ann", email=SAME, deleted=1))
    lab.identify()
    assert ambiguous(lab) == []


def test_doubts_about_someone_who_became_part_of_another_are_forgotten(lab: StateLab) -> None:
    lab.put(contact(1), contact(2, name="Ann", email=SAME), contact(3, name="Tom", email=SAME))
    lab.identify()
    assert ambiguous(lab) == [(2, "different_names")]
    lab.put(contact(1, name="Eve", email=SAME))
    lab.identify()
    assert ambiguous(lab) == [(1, "different_names")]


@pytest.mark.parametrize(("policy", "persons", "doubts"), [
    ("one_person", {1}, []), ("separate", {1, 2}, []), ("exclude", {1}, [(1, "shared_address")])])
def test_what_one_address_means_is_declared(tmp_path: Path, policy: str, persons: set[int],
                                            doubts: list[tuple[int, str]]) -> None:
    lab = StateLab(tmp_path, join_by_address=policy)
    lab.put(contact(1, name="Ann", email=SAME), contact(2, name="Ann", email=SAME))
    lab.identify()
    assert (set(lab.persons().values()), ambiguous(lab)) == (persons, doubts)
    lab.close()


def test_everyone_whose_person_changed_is_dirty(lab: StateLab) -> None:
    lab.put(*contacts(4, name="Ann"))
    lab.step()
    lab.put(contact(2, name="Ann", email="c1@mail.example"))
    lab.identify()
    assert lab.rows("SELECT person FROM dirty ORDER BY person") == [(1,), (2,)]


EDIT = st.tuples(st.integers(1, 6), st.sampled_from(["a", "b", "c", None]), st.sampled_from([0, 0, 0, 1]),
                 st.sampled_from([None, None, None, "c1", "c4"]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(EDIT, min_size=1, max_size=4), min_size=1, max_size=6))
def test_step_by_step_gives_the_same_people_as_all_at_once(
        tmp_path_factory: pytest.TempPathFactory, pages: list[list[tuple[int, str | None, int, str | None]]]) -> None:
    lab = StateLab(tmp_path_factory.mktemp("identify"))
    first: list[tuple[int, str | None, int, str | None]] = [(n, "abc"[n % 3], 0, None) for n in range(1, 7)]
    for page in [first, *pages]:
        lab.put(*({"id": f"c{n}", "email": email and f"{email}@mail.example", "name": f"N{n % 2}", "deleted": deleted,
                   "merged": merged if deleted and merged != f"c{n}" else None} for n, email, deleted, merged in page))
        lab.identify()
    found = lab.persons(), ambiguous(lab)
    lab.store.write(lambda conn: conn.execute("UPDATE record SET person = id").rowcount)
    lab.store.write(lambda conn: conn.execute("DELETE FROM ambiguous").rowcount)
    lab.store.write(lambda conn: conn.execute("INSERT OR IGNORE INTO dirty_record SELECT id FROM record").rowcount)
    lab.identify()
    assert (lab.persons(), ambiguous(lab)) == found
    lab.close()
