"""Salesforce's values and error codes, in our words."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from requests.structures import CaseInsensitiveDict

from connectors.errors import (
    ConnectorError,
    CursorLost,
    Misconfigured,
    Outage,
    Reauthenticate,
    RejectRecord,
    Retry,
    Throttled,
)
from connectors.http import Reply
from connectors.salesforce.records.source import history_source, record_source
from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire.describe import Described, is_identifier
from connectors.salesforce.wire.errors import call_error, call_outcome, login_error, row_outcomes
from connectors.salesforce.wire.values import id18, is_id, json_column, micros, read_column, soql_instant, to_json
from syncd.model import DONE, Field, FieldInfo, FieldType, StreamSpec

INSTANT = 1638469419000000
"""2021-12-02T18:23:39Z"""


@pytest.mark.parametrize(("kind", "rest", "bulk", "value"), [
    ("text", "Anna", "Anna", "Anna"), ("text", None, "", None), ("text", "", "", None), ("text", " x ", " x ", " x "),
    ("id", "003D000000QV9n2", "003D000000QV9n2IAD", "003D000000QV9n2IAD"), ("id", None, "", None),
    ("bool", True, "true", 1), ("bool", False, "false", 0), ("bool", None, "", None),
    ("integer", 5, "5", 5), ("integer", 5.0, "5.0", 5), ("integer", -3, "-3", -3), ("integer", None, "", None),
    ("decimal", 1234.5, "1234.50", "1234.5"), ("decimal", 100.0, "1.0E2", "100"), ("decimal", 0.1, "0.1", "0.1"),
    ("decimal", 1e-7, "1.0E-7", "0.0000001"), ("decimal", 0, "0.0", "0"), ("decimal", None, "", None),
    ("date", "2026-11-21", "2026-11-21", "2026-11-21"), ("date", None, "", None),
    ("instant", "2021-12-02T18:23:39.000+0000", "2021-12-02T18:23:39.000Z", INSTANT),
    ("instant", "2021-12-02T19:23:39.000+0100", "2021-12-02T18:23:39Z", INSTANT), ("instant", None, "", None),
    ("choices", "b;a;c", "c;b;a", ";a;b;c;"), ("choices", "a", "a;a", ";a;"), ("choices", None, "", None),
])
def test_rest_and_bulk_give_one_value(kind: FieldType, rest: Any, bulk: str, value: Any) -> None:
    assert read_column(kind, [rest, rest]) == [value, value]
    assert read_column(kind, (bulk,)) == [value]


@pytest.mark.parametrize(("kind", "raw"), [
    ("text", {"street": "x"}), ("bool", "yes"), ("bool", []), ("integer", 1.5), ("integer", "x"), ("decimal", "x"),
    ("instant", "yesterday"), ("instant", 5), ("date", 5), ("choices", 5), ("id", 5)])
def test_values_of_another_type_are_refused_without_being_quoted(kind: FieldType, raw: Any) -> None:
    source = record_source(StreamSpec("Contact", fields=(Field("X", kind),)), fields("Id:id", "SystemModstamp:instant"))
    record = {"Id": "003000000000001AAA", "SystemModstamp": "2021-12-02T18:23:39.000+0000", "X": raw}
    with pytest.raises(Misconfigured, match=r"Contact\.X does not hold values of type") as caught:
        source.from_json([record])
    assert str(raw) not in f"{caught.value} {caught.value.detail} {caught.value.__context__}"


def test_text_of_other_json_types() -> None:
    assert read_column("text", [True, False, 5, 1.5]) == ["true", "false", "5", "1.5"]


@pytest.mark.parametrize(("short", "long"), [
    ("001A0000006Vm9r", "001A0000006Vm9rIAC"), ("003D000000QV9n2", "003D000000QV9n2IAD"),
    ("003D000000QV9n2IAD", "003D000000QV9n2IAD"), ("none", "none")])
def test_ids(short: str, long: str) -> None:
    assert id18(short) == long


def test_what_is_an_id() -> None:
    assert is_id("003D000000QV9n2")
    assert not any(map(is_id, ["", "003", "003D000000QV9n2I", "003D000000QV9n'", "003D000000QV9n2IAD\n"]))


def test_instants_do_not_depend_on_this_machines_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5EDT")
    time.tzset()
    try:
        assert micros(soql_instant(1_800_000_000)) == 1_800_000_000_000_000
        assert micros("2021-12-02") == 1638403200000000  # a date is midnight UTC
    finally:
        monkeypatch.undo()
        time.tzset()


def test_parents_and_hidden_fields() -> None:
    assert json_column([{"Account": {"Name": "A"}}, {"Account": None}], ["Account", "Name"]) == ["A", None]
    for record in ({}, {"Account": {}}, {"Account": "x"}):
        with pytest.raises(Misconfigured, match=r"no longer shows the field Account\.Name") as caught:
            json_column([{"Account": {"Name": "anna"}}, record], ["Account", "Name"])
        assert "anna" not in repr(caught.value.__context__)


@pytest.mark.parametrize(("kind", "value", "json"), [
    ("text", "x", b'"x"'), ("text", 5, b'"5"'), ("text", None, b"null"), ("bool", 1, b"true"), ("bool", 0, b"false"),
    ("integer", 7, b"7"), ("decimal", "1234.50", b"1234.50"), ("decimal", None, b"null"),
    ("decimal", "99999999999999999.99", b"99999999999999999.99"), ("date", "2026-11-21", b'"2026-11-21"'),
    ("id", "003D000000QV9n2", b'"003D000000QV9n2"'),
    ("instant", INSTANT, b'"2021-12-02T18:23:39.000Z"'), ("instant", INSTANT + 1500, b'"2021-12-02T18:23:39.001Z"'),
    ("choices", ";a;b;", b'"a;b"')])
def test_writing(kind: FieldType, value: Any, json: bytes) -> None:
    assert orjson.dumps(to_json(kind, value)) == json


@pytest.mark.parametrize(("kind", "value"), [
    ("bool", None), ("bool", 2), ("bool", "true"), ("integer", "1e5"), ("decimal", '1,"x":2'), ("decimal", "1e5"),
    ("decimal", ""), ("instant", "x"), ("instant", 10**20)])
def test_values_that_cannot_be_written(kind: FieldType, value: Any) -> None:
    with pytest.raises(RejectRecord) as caught:
        to_json(kind, value)
    assert str(caught.value) in ("A checkbox cannot be cleared.", f"A value is not of type {kind}.")


def fields(*specs: str) -> dict[str, FieldInfo]:
    pairs = [s.partition(":") for s in specs]
    return {name: FieldInfo(name, kind) for name, _, kind in pairs}  # type: ignore[arg-type]


# --------------------------------------------------------------------------- sources

LEAD = fields("Id:id", "SystemModstamp:instant", "IsDeleted:bool", "MasterRecordId:id", "ConvertedContactId:id")
STAMP = "2021-12-02T18:23:39.000+0000"


def test_conversion_and_merge_name_the_record_that_goes_on() -> None:
    source = record_source(StreamSpec("Lead", fields=(Field("Email"),)), LEAD)
    base = {"SystemModstamp": STAMP, "IsDeleted": False, "MasterRecordId": None, "ConvertedContactId": None,
            "Email": "e"}
    rows, last = source.from_json([
        {**base, "Id": "00Q000000000001AAA"},
        {**base, "Id": "00Q000000000002AAA", "ConvertedContactId": "003000000000001AAA"},
        {**base, "Id": "00Q000000000003AAA", "IsDeleted": True, "MasterRecordId": "00Q000000000001AAA"}])
    assert [(r[0][14], r[2], r[3]) for r in rows if isinstance(r[0], str)] == [
        ("1", 0, None), ("2", 0, "003000000000001AAA"), ("3", 1, "00Q000000000001AAA")]
    assert last is not None
    assert (last.stamp, last.id) == (INSTANT // 1_000_000, "00Q000000000003AAA")


def test_objects_without_a_bin_or_a_stamp() -> None:
    source = record_source(StreamSpec("X__c"), fields("Id:id", "LastModifiedDate:instant"))
    assert (source.stamp, source.deleted, source.select) == ("LastModifiedDate", False, ("Id", "LastModifiedDate"))
    with pytest.raises(Misconfigured, match="when its rows change"):
        record_source(StreamSpec("X__c"), fields("Id:id"))


@pytest.mark.parametrize("name", ["Email, Id FROM User--", "", "1x", "a.b.c.d.e.f.g", "x'", "Account.", "Émail", "x\n"])
def test_names_that_soql_would_read_otherwise(name: str) -> None:
    assert not is_identifier(name)
    with pytest.raises(Misconfigured):
        record_source(StreamSpec("Contact", fields=(Field(name),)), LEAD)


def test_fields_asked_for_twice_or_that_are_system_fields() -> None:
    source = record_source(StreamSpec("Lead", fields=(Field("Email"), Field("Id", "id"), Field("Email"))), LEAD)
    assert source.select.count("Id") == source.select.count("Email") == 1
    record = dict.fromkeys(source.select) | {"Id": "00Q000000000001AAA", "SystemModstamp": STAMP, "Email": "e"}
    assert source.from_json([record])[0][0][4:] == ("e", "00Q000000000001AAA", "e")


CSV_SOURCE = record_source(StreamSpec("X__c", fields=(Field("Note__c"),)), fields("Id:id", "SystemModstamp:instant"))
HEADER = '"Id","SystemModstamp","Note__c"\n'


def test_csv_with_quotes_newlines_and_long_cells() -> None:
    long = "x" * 200_000
    text = (HEADER + '"003000000000001AAA","2021-12-02T18:23:39.000Z","a ""b"",\r\nc"\n'
            f'"003000000000002AAA","","{long}"\n')
    rows = CSV_SOURCE.from_csv(text, first=True)
    assert rows == [("003000000000001AAA", INSTANT, 0, None, 'a "b",\r\nc'),
                    ("003000000000002AAA", None, 0, None, long)]
    assert CSV_SOURCE.from_csv(text, first=False) == rows
    assert CSV_SOURCE.from_csv(text[len(HEADER):], first=False) == rows
    assert CSV_SOURCE.from_csv(HEADER, first=True) == CSV_SOURCE.from_csv("", first=False) == []


@pytest.mark.parametrize(("text", "error"), [
    (HEADER + '"003000000000001AAA","2021', CursorLost), ("", Misconfigured),
    ('"Id","SystemModstamp"\n', Misconfigured), ('"SystemModstamp","Id","Note__c"\n', Outage)])
def test_csv_that_is_not_what_was_asked(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        CSV_SOURCE.from_csv(text, first=True)


def test_bulk_rows_are_parsed_fast_enough() -> None:
    """The goal is 6 µs a row for a plain selection; the limit here is wide, for slow machines."""
    text = HEADER + "".join(f'"003{i:012d}AAA","2021-12-02T18:{i // 60 % 60:02d}:{i % 60:02d}.000Z","note {i}"\n'
                            for i in range(20_000))
    began = time.process_time()
    assert len(CSV_SOURCE.from_csv(text, first=True)) == 20_000
    assert (time.process_time() - began) / 20_000 < 30e-6


def test_history_rows() -> None:
    spec = StreamSpec("Contact", "history", (Field("HasOptedOutOfEmail", "bool"), Field("Score__c", "decimal")))
    source = history_source(spec, {}, {"005000000000001AAA": "self", "005000000000002AAA": "connect"})
    assert source.object == "ContactHistory"
    assert source.where == "Field IN ('HasOptedOutOfEmail','Score__c')"

    def record(field: str, old: Any, new: Any, by: int) -> dict[str, Any]:
        return {"Id": "017000000000001AAA", "ContactId": "003000000000001AAA", "Field": field, "OldValue": old,
                "NewValue": new, "CreatedById": f"00500000000000{by}", "CreatedDate": STAMP}
    rows, _ = source.from_json([
        record("HasOptedOutOfEmail", False, True, 1), record("HasOptedOutOfEmail", "true", "false", 2),
        record("Score__c", None, 1.0, 3), record("created", None, None, 3), record("Score__c", "a label", 2, 3)])
    assert [(r[1], r[2], r[3], r[5]) for r in rows] == [
        ("HasOptedOutOfEmail", 0, 1, "self"), ("HasOptedOutOfEmail", 1, 0, "connect"), ("Score__c", None, "1", "user"),
        ("created", None, None, "user"), ("Score__c", "a label", "2", "user")]
    assert all(r[0] == "003000000000001AAA" and r[4] == INSTANT and len(r) == len(spec.columns) for r in rows)


def test_history_of_custom_objects_and_of_all_fields() -> None:
    source = history_source(StreamSpec("Pet__c", "history"), fields("Chipped__c:bool"), {})
    assert (source.object, source.select[1], source.where) == ("Pet__History", "ParentId", "")


# --------------------------------------------------------------------------- describe

def described(**changes: Any) -> Described:
    def field(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "type": kind, "label": name, **more}
    return Described.parse({
        "name": "Contact", "label": "Contact", "keyPrefix": "003", "fields": [
            field("Id", "id"), field("Email", "email", length=80), field("Score__c", "double", scale=0),
            field("Weight__c", "double", scale=2), field("Birthdate", "date"), field("MailingAddress", "address"),
            field("HasOptedOutOfEmail", "boolean", nillable=False, length=0), field("CurrencyIsoCode", "picklist"),
            field("IsDeleted", "boolean", updateable=False),
            field("Persona__c", "multipicklist", length=255, picklistValues=[
                {"value": "a", "active": True}, {"value": "b", "active": False}]),
            field("AccountId", "reference", relationshipName="Account", referenceTo=["Account"]),
            field("OwnerId", "reference", relationshipName="Owner", referenceTo=["Group", "User"])], **changes})


def test_described_fields() -> None:
    info = described().info({})
    by_name = {f.name: f for f in info.fields}
    assert {n: f.type for n, f in by_name.items()} == {
        "Id": "id", "Email": "text", "Score__c": "integer", "Weight__c": "decimal", "Birthdate": "date",
        "HasOptedOutOfEmail": "bool", "CurrencyIsoCode": "text", "IsDeleted": "bool", "Persona__c": "choices",
        "AccountId": "id", "OwnerId": "id"}
    assert by_name["Id"].primary_key
    assert by_name["Email"].length == 80
    assert by_name["Persona__c"].choices == ("a",)
    assert not by_name["IsDeleted"].writable
    assert not by_name["HasOptedOutOfEmail"].nullable
    assert by_name["HasOptedOutOfEmail"].length is None
    assert info.master_flag == "HasOptedOutOfEmail"
    assert info.properties["multi_currency"] is True
    assert info.properties["deletes_visible"] is True


def test_parents_lead_to_one_object_only() -> None:
    account = Described.parse({"name": "Account", "fields": [{"name": "Name", "type": "string", "length": 255}]})
    assert described().parents == (("Account", "Account"),)
    [reached] = [f for f in described().info({"Account": account}).fields if "." in f.name]
    assert (reached.name, reached.type, reached.writable, reached.nullable) == ("Account.Name", "text", False, True)


def test_deletes_of_junctions_are_invisible() -> None:
    assert described(name="OpportunityContactRole").info({}).properties["deletes_visible"] is False


# --------------------------------------------------------------------------- errors

def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    return Reply(status, CaseInsensitiveDict(headers), body if isinstance(body, bytes) else orjson.dumps(body))


@pytest.mark.parametrize(("status", "code", "error"), [
    (403, "REQUEST_LIMIT_EXCEEDED", Throttled), (403, "INSUFFICIENT_ACCESS", Misconfigured), (403, "", Misconfigured),
    (403, "API_DISABLED_FOR_ORG", Misconfigured), (400, "INVALID_FIELD", Misconfigured),
    (400, "MALFORMED_QUERY", Misconfigured), (400, "INVALID_QUERY_LOCATOR", CursorLost), (400, "QUERY_TIMEOUT", Retry),
    (400, "UNABLE_TO_LOCK_ROW", Retry), (404, "NOT_FOUND", Misconfigured), (410, "GONE", Misconfigured),
    (500, "UNKNOWN_EXCEPTION", Outage), (503, "SERVER_UNAVAILABLE", Outage), (502, "", Outage), (302, "", Outage),
    (401, "INVALID_SESSION_ID", Reauthenticate), (429, "", Throttled), (408, "", Retry),
    (400, "NEW_CODE", Misconfigured),
])
def test_calls_that_fail(status: int, code: str, error: type[ConnectorError]) -> None:
    body = [{"message": "anna@acme.example is not welcome", "errorCode": code}] if code else b"<html>anna</html>"
    failure = call_error(reply(status, body))
    assert type(failure) is error
    assert failure.code == code
    assert "anna" not in f"{failure} {failure.detail}"


def test_a_refused_field_is_named_when_it_is_ours() -> None:
    body = [{"message": "\nNo such column 'Offers__c' on entity 'Contact'. 'anna'", "errorCode": "INVALID_FIELD"}]
    assert "(Contact, Offers__c)" in str(call_error(reply(400, body), ("Offers__c", "Contact", "Email")))
    assert "Offers__c" not in str(call_error(reply(400, body)))


def test_pauses() -> None:
    limit = [{"message": "x", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]
    cases = [(reply(403, limit), 900.0), (reply(429, b""), None), (reply(429, b"", **{"Retry-After": "7"}), 7.0)]
    for answer, pause in cases:
        failure = call_error(answer)
        assert isinstance(failure, Throttled)
        assert failure.retry_after == pause


@pytest.mark.parametrize(("status", "code", "error"), [
    (400, "invalid_grant", Reauthenticate), (400, "invalid_client_id", Reauthenticate),
    (401, "invalid_client", Reauthenticate),
    (503, 503, Outage), (200, 200, Outage), (400, None, Outage), (400, "server_error", Outage), (429, None, Throttled),
    (400, "an address: anna@acme.example", Outage)])
def test_logins_that_fail(status: int, code: object, error: type[ConnectorError]) -> None:
    failure = login_error(status, code)
    assert type(failure) is error
    assert "anna" not in f"{failure} {failure.detail} {failure.code}"


def failed(*codes: str, message: str = "anna@acme.example", **more: Any) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": c, "message": message, "fields": []} for c in codes], **more}


@pytest.mark.parametrize(("result", "state"), [
    ({"id": "003", "success": True, "errors": []}, "done"),
    (failed("UNABLE_TO_LOCK_ROW"), "retry"), (failed("ENTITY_IS_LOCKED"), "retry"),
    (failed("UNKNOWN_EXCEPTION"), "retry"),
    (failed("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message="… System.DmlException: UNABLE_TO_LOCK_ROW, x"), "retry"),
    (failed("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"), "rejected"),
    (failed("FIELD_CUSTOM_VALIDATION_EXCEPTION"), "rejected"),
    (failed("FIELD_CUSTOM_VALIDATION_EXCEPTION", "UNABLE_TO_LOCK_ROW"), "retry"),
    (failed("CANNOT_UPDATE_CONVERTED_LEAD"), "rejected"), (failed("BRAND_NEW_CODE"), "rejected"),
    (failed(), "rejected"), (failed("anna@acme.example"), "rejected"),
    ({"success": "yes"}, "unknown"), ("x", "unknown"), (None, "unknown")])
def test_rows_of_a_write(result: Any, state: str) -> None:
    [(outcome, _)] = row_outcomes(reply(200, [result]), 1)
    assert outcome.state == state
    assert "anna" not in str(outcome)
    if state == "retry":
        assert outcome.retry_after


@pytest.mark.parametrize("body", [b"<html>", b"", [], [{"success": True}] * 3, {"success": True}])
def test_an_answer_for_other_rows_says_nothing(body: Any) -> None:
    assert [o.state for o, _ in row_outcomes(reply(200, body), 2)] == ["unknown", "unknown"]


def test_codes_of_rows_for_a_whole_call() -> None:
    assert call_outcome("INVALID_FIELD", 5) is None
    many, one = call_outcome("MALFORMED_ID", 5), call_outcome("MALFORMED_ID", 1)
    assert many is not None
    assert (many.state, many.max_batch) == ("retry", 2)
    assert one is not None
    assert one.state == "rejected"
    lock = call_outcome("UNABLE_TO_LOCK_ROW", 1)
    assert lock is not None
    assert lock.state == "retry"


def test_success_is_the_shared_constant() -> None:
    assert row_outcomes(reply(200, [{"success": True}]), 1) == [(DONE, None)]
    assert row_outcomes(reply(201, [{"success": True, "id": "0PK1"}]), 1) == [(DONE, "0PK1")]


# --------------------------------------------------------------------------- settings

@pytest.mark.parametrize(("domain", "audience"), [("acme.my", "login"), ("login", "login"), ("test", "test"),
                                                  ("acme--uat.sandbox.my", "test")])
def test_audience(domain: str, audience: str) -> None:
    assert SalesforceSettings(client_id="x", domain=domain).audience == audience


def test_settings_hide_secrets_and_need_an_endpoint() -> None:
    shown = repr(SalesforceSettings(client_id="x", client_secret="s3cret", private_key="s3cret", username="s3cret"))
    assert "s3cret" not in shown
    assert SalesforceSettings(client_id="x", domain="acme.my").base == "https://acme.my.salesforce.com"
    assert SalesforceSettings(client_id="x", endpoint="http://127.0.0.1:1/").base == "http://127.0.0.1:1"
    with pytest.raises(Misconfigured):
        _ = SalesforceSettings(client_id="x").base
