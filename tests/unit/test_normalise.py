"""Addresses, decimals, texts and names in the one spelling the state knows."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd import normalise
from syncd.model import Field


@pytest.mark.parametrize(("written", "expected"), [
    (" Ann.Doe@Mail.Example ", "ann.doe@mail.example"),
    ("ann+news@mail.example", "ann+news@mail.example"),
    ("<ann@mail.example>", "ann@mail.example"),
    ("müller@mail.example", "müller@mail.example"),
    (unicodedata.normalize("NFD", "MÜLLER@mail.example"), "müller@mail.example"),
    ("ann@müller.example", "ann@xn--mller-kva.example"),
    ("ANN@XN--MLLER-KVA.EXAMPLE", "ann@xn--mller-kva.example"),
    ("o'neil@mail.example", "o'neil@mail.example"),
    ("Groß@mail.example", "groß@mail.example"),
    ("ann@Straße.example", "ann@xn--strae-oqa.example"),
    ("ann@xn--strae-oqa.example", "ann@xn--strae-oqa.example"),
])
def test_addresses_have_one_spelling(written: str, expected: str) -> None:
    assert normalise.email(written) == expected
    assert normalise.email(expected) == expected


@pytest.mark.parametrize("written", [
    None, "", "   ", "ann", "ann@", "@mail.example", "ann@mail", "a b@mail.example", "ann@@mail.example",
    "ann@mail..example",
    "ann@mail.example;bob@mail.example", "ann@-mail.example", ".ann@mail.example", "a" * 250 + "@mail.example",
    "ann\x00@mail.example", "ann@mail.example\nbob@mail.example",
])
def test_what_is_no_address_is_none(written: str | None) -> None:
    assert normalise.email(written) is None


@given(st.emails())
def test_normalising_twice_changes_nothing(written: str) -> None:
    once = normalise.email(written)
    assert once is None or normalise.email(once) == once


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(written: str) -> None:
    found = normalise.email(written)
    assert found is None or ("@" in found and found == found.strip())


def test_hashes_depend_on_the_key_and_not_on_the_process() -> None:
    assert normalise.hasher(b"a")("x@y.example") == normalise.hasher(b"a")("x@y.example")
    assert normalise.hasher(b"a")("x@y.example") != normalise.hasher(b"b")("x@y.example")
    assert len(normalise.hasher(b"")("x@y.example")) == 16


@pytest.mark.parametrize(("written", "parts", "back"), [
    ("12.5", 125_000, "12.50"), ("-12.50", -125_000, "-12.50"), ("0.00005", 1, "0.0001"), ("0.00004", 0, "0.00"),
    ("-0.00005", -1, "-0.0001"), ("1000000000.01", 10_000_000_000_100, "1000000000.01"), ("1.2345678", 12_346, "1.2346"),
    (7, 70_000, "7.00"), ("007", 70_000, "7.00"), (None, None, None),
])
def test_decimals_are_whole_ten_thousandths(written: str | int | None, parts: int | None, back: str | None) -> None:
    assert normalise.decimal(written) == parts
    assert normalise.decimal_text(parts) == back


@pytest.mark.parametrize("written", ["", "abc", "1,5", "1e5", "--1", "1.", ".5", "NaN", " 1", "9" * 16, "9" * 4000, 2**62])
def test_what_is_no_decimal_or_too_large_is_refused(written: str | int) -> None:
    with pytest.raises(ValueError):
        normalise.decimal(written)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_amount_the_state_can_hold_survives_the_wire(parts: int) -> None:
    assert normalise.decimal(normalise.decimal_text(parts)) == parts


@given(st.decimals(min_value=-10**12, max_value=10**12, places=4))
def test_four_places_are_exact(amount: object) -> None:
    assert normalise.decimal(f"{amount:f}") == int(amount * 10_000)  # type: ignore[operator]  # a Decimal


def test_texts_lose_controls_and_length_and_nothing_else() -> None:
    assert normalise.text("Zoë 🦊\tof\nKöln") == "Zoë 🦊\tof\nKöln"
    assert normalise.text("A\x00B\x1bC") == "ABC"
    assert normalise.text("\x00\x01") is None
    assert normalise.text("\udcff") is None
    assert normalise.text("x" * 5000) == "x" * 4000
    assert normalise.text(5) == 5
    assert normalise.text(None) is None


def test_only_fields_that_need_it_are_converted() -> None:
    found = normalise.converters([Field("a", "bool"), Field("b", "decimal"), Field("c"), Field("d", "date"),
                                  Field("e", "id")])
    assert [(index, function.__name__) for index, function in found] == [(1, "decimal"), (2, "text")]
