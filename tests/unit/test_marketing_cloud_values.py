"""Values, cursors and envelopes of the Marketing Cloud connector."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import CursorLost, Misconfigured, Outage
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import cursor as cursors
from connectors.marketing_cloud.wire import errors, soap, values
from tests.unit.marketing_cloud_lab import API, envelope

CENTRAL = timezone(timedelta(hours=-6))


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=60))
def test_any_text_survives_an_envelope_except_what_xml_forbids(text: str) -> None:
    sent = soap.envelope("tok", f'<Row xmlns="{API}">{soap.leaf("Value", "|" + text + "|")}</Row>')
    held = soap.flatten(soap.parse(sent.encode()))["Value"]
    assert held == "|" + values.sanitise(text) + "|"
    assert values.sanitise("a\x00\ud800b\r\nc\rd\U0001f98a") == "ab\nc\nd\U0001f98a"


@pytest.mark.parametrize(("text", "utc"), [
    ("2026-07-01T00:30:00", "2026-07-01T06:30:00Z"), ("2026-01-01T00:30:00.98", "2026-01-01T06:30:00Z"),
    ("2026-01-01T00:30:00Z", "2026-01-01T00:30:00Z"), ("2026-01-01T00:30:00+02:00", "2025-12-31T22:30:00Z"),
    ("7/1/2026 12:05:09 AM", "2026-07-01T06:05:09Z"), ("11/20/2026 12:00:00 PM", "2026-11-20T18:00:00Z"),
    ("1/31/1970 11:59:59 PM", "1970-02-01T05:59:59Z"), ("1/31/1970", "1970-01-31T06:00:00Z"),
])
def test_dates_without_a_zone_are_server_time_in_winter_and_summer(text: str, utc: str) -> None:
    at = values.parse_time(text, CENTRAL)
    assert at is not None
    assert values.utc_text(at) == utc


@pytest.mark.parametrize("text", ["yesterday", "13/1/2026 1:00:00 PM", "2026-02-30"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        values.parse_time(text, CENTRAL)


@pytest.mark.parametrize(("value", "kind", "wire", "back"), [
    (1, "bool", "True", 1), (0, "bool", "False", 0), ("1234.50", "decimal", "1234.50", "1234.50"),
    ("1E+3", "decimal", "1000", "1000"), (-7, "integer", -7, -7), ("a\x00b", "text", "ab", "ab"),
    ("1970-01-31", "instant", "1970-01-31T00:00:00", None),
    (1_795_000_000_000_000, "instant", "2026-11-18T05:06:40", None),
    (None, "decimal", None, None), ("x", "text", "x", "x"), (12, "text", "12", "12"),
])
def test_cells_go_out_and_come_back(value: Any, kind: Any, wire: Any, back: Any) -> None:
    assert values.to_vendor(value, kind, CENTRAL) == wire
    if back is not None:
        assert values.from_vendor(wire, kind, CENTRAL, "C") == back


@given(st.integers(-2_000_000_000, 4_000_000_000))
def test_an_instant_comes_back_to_the_second(seconds: int) -> None:
    wire = values.to_vendor(seconds * 1_000_000 + 999_999, "instant", CENTRAL)
    assert values.from_vendor(wire, "instant", CENTRAL, "C") == seconds * 1_000_000


def test_a_midnight_in_a_date_column_stays_its_day() -> None:
    wire = values.to_vendor("1970-01-31", "instant", CENTRAL)
    assert values.from_vendor(wire, "date", CENTRAL, "C") == "1970-01-31"


@pytest.mark.parametrize(("value", "kind"), [(2, "bool"), ("x", "integer"), ("nan", "decimal"), ("31.1.70", "instant")])
def test_a_value_that_does_not_fit_its_column_is_refused(value: Any, kind: Any) -> None:
    with pytest.raises(ValueError):
        values.to_vendor(value, kind, CENTRAL)


@pytest.mark.parametrize(("text", "kind"), [
    ("maybe", "bool"), ("1.5", "integer"), ("soon", "instant"), ("1,5", "decimal")])
def test_a_cell_that_cannot_be_read_is_an_error_and_not_quoted(text: str, kind: Any) -> None:
    with pytest.raises(Misconfigured, match="Column Born") as caught:
        values.from_vendor(text, kind, CENTRAL, "Born")
    assert text not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '[99,null,1,0,null,true,[]]', '[1,null,"x",0,null,true,[]]', "x" * 9])
def test_a_strange_cursor_is_lost_and_not_guessed(text: str) -> None:
    with pytest.raises(CursorLost):
        cursors.start(text, 5, 1)


def test_a_finished_window_is_followed_by_one_that_overlaps_it() -> None:
    first = cursors.start(None, 1_000, 100)
    assert first.since is None
    within = cursors.start(first.at("more").text(), 2_000, 100)
    assert (within.since, within.until, within.more) == (None, 1_000, "more")
    following = cursors.start(within.at(None).text(), 2_000, 100)
    assert (following.since, following.until, following.more) == (900, 2_000, None)
    assert cursors.start(following.at(None).text(), 1_500, 100).until == 2_000, "a clock that runs back moves no window"


def test_a_full_cursor_fits_its_four_kilobytes() -> None:
    marks = tuple(cursors.digest(str(n))[:11] for n in range(cursors.SEEN))
    full = cursors.Cursor(10**16, 10**16, 1, "0" * 36, False, marks)
    assert len(full.text().encode()) <= 4_096


@pytest.mark.parametrize("body", [
    b"", b"<html><body>busy</body></html>", b"{}",
    b'<!DOCTYPE a [<!ENTITY x "y">]><Envelope><Body><b>&x;</b></Body></Envelope>',
    b"<Envelope><Body/></Envelope>",
])
def test_what_is_not_soap_is_an_outage(body: bytes) -> None:
    with pytest.raises(Outage):
        soap.parse(body)


def test_an_echoed_column_cannot_pass_for_the_result() -> None:
    """A data extension may have columns called StatusCode and OrdinalID."""
    echo = ("<Object><Properties><Property><Name>StatusCode</Name><Value>OK</Value></Property>"
            "<Property><Name>OrdinalID</Name><Value>1</Value></Property></Properties></Object>")
    content = soap.parse(envelope(f'<DeleteResponse xmlns="{API}"><Results><StatusCode>Error</StatusCode>'
                                  f"<ErrorCode>2</ErrorCode><OrdinalID>0</OrdinalID>{echo}</Results></DeleteResponse>"
                                  ).encode())
    first, second = soap.results(content, 2)
    assert first is not None
    assert (first.ok, first.code) == (False, "2")
    assert second is None


@pytest.mark.parametrize(("reason", "origin"), [
    ("Spam Complaint", "complaint"), ("Spam complaint from example.com", "complaint"),
    ("Unsubscribed from the Subscription Center", "person"), ("Unsubscribed via Import", "import"),
    ("Unsubscribed by subscriber edit API call.", "api"), ("Unsubscribed via Log Unsub Event Execute call", "api"),
    ("Unsubscribed from list details on subscriber properties dialog.", "user"),
    ("Unsubscribed by RMM service based on subscriber Leave/Reply email.", "person"),
    (None, "unknown"), ("?", "unknown"),
])
def test_the_vendors_reasons_name_who_did_it(reason: str | None, origin: str) -> None:
    assert errors.origin_of(reason) == origin


@pytest.mark.parametrize(("text", "reason"), [
    ("email: The value for column [email] is not a valid email address. Parse error [InvalidEmailAddress]",
     "InvalidEmailAddress"),
    ("Violation of PRIMARY KEY constraint. The duplicate key value is (k1).", "DuplicateKey"),
    ("the value exceeds the column's maximum length", "ValueTooLong"), ("ada@mail.example is odd", "UnexpectedError"),
])
def test_a_refused_rows_reason_is_a_name_and_holds_no_value(text: str, reason: str) -> None:
    told = errors.row_reason("UnexpectedError", text)
    assert told.partition(":")[0] == reason
    assert "mail.example" not in told
    assert errors.row_reason("ada@mail.example", "x").startswith("RowError")


def test_endpoints_come_from_the_subdomain_unless_one_is_named() -> None:
    tenant = MarketingCloudSettings("id", "s", subdomain="mcabc")
    assert tenant.url("rest") == "https://mcabc.rest.marketingcloudapis.com"
    named = MarketingCloudSettings("id", "s", endpoint="http://127.0.0.1:1/", soap_url="http://127.0.0.1:2/")
    assert [named.url(service) for service in ("auth", "soap")] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    with pytest.raises(Misconfigured, match="subdomain"):
        MarketingCloudSettings("id", "s").url("auth")
    assert "hidden" not in repr(MarketingCloudSettings("id", "hidden"))
