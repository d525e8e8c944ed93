"""`unit:` at a destination promises that a stop of all mail there holds for that business unit alone. Where the provider
says otherwise nothing runs: the stop would be recorded narrower than it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.acceptance_lab import Company

WIDE = "A stop of all mail here holds for the whole enterprise"


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Of its business units, the main one unsubscribes the whole enterprise, the second only itself."""
    with Company(tmp_path, 10) as found:
        yield found


def limit(company: Company, connection: str) -> None:
    path = Path(company.box.config_path).parent / "mapping.yaml"
    text, place = path.read_text(), f"    connection: {connection}\n"
    assert text.count(place) == 1
    path.write_text(text.replace(place, f"{place}    unit: shop\n"))


def test_a_unit_whose_stops_hold_for_the_whole_enterprise_is_refused(company: Company) -> None:
    limit(company, "mc_main")
    found = company.cli("check", "--online", exits=(2,))["problems"]
    assert [p["message"].startswith(WIDE) for p in found if p["level"] == "error"] == [True]
    assert WIDE in company.cli("plan", exits=(2,))["error"]["message"]
    assert not any(company.written().values())


def test_a_unit_whose_stops_are_its_own_is_good(company: Company) -> None:
    limit(company, "mc_second")
    company.cli("check", "--online")
    assert company.cli("plan", exits=(4,))["plan"]["counts"]


def test_who_becomes_a_subscriber_at_one_unit_is_refused_at_the_other_too(tmp_path: Path) -> None:
    """The enterprise has one list of subscribers: whom we make known to the second unit, the main one knows as Active."""
    with Company(tmp_path, 150) as company:
        company.link()
        found = company.cli("audit", "--all")
        assert found["places"]
        assert found["disagreements"] == []
