"""The generated pages say what is."""

from __future__ import annotations

from tests.system import one_person, reference


def test_one_person_goes_through_the_tables_as_told() -> None:
    assert one_person.PAGE.read_text("utf-8") == one_person.page(), "run `make docs`, read what changed, and commit the page"


def test_every_key_of_the_configuration_is_told_with_its_meaning() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(), "run `make docs`, read what changed, and commit the page"
