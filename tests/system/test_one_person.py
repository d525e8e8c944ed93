"""docs/one-person.md says what happens."""

from __future__ import annotations

from tests.system.one_person import PAGE, page


def test_the_page_is_what_syncd_does() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make docs`, read what changed, and commit the page"
