"""The Salesforce simulator's writes: collections, single rows, Bulk ingest, rules."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from connectors.sim.salesforce import INTEGRATION_USER, ids
from tests.unit.sim_salesforce_lab import Org, V, code

FIELDS = {"Contact": {
    "Ext__c": {"type": "text", "length": 20, "external_id": True, "unique": True},
    "Tag__c": {"type": "text", "external_id": True},
    "Level__c": {"type": "picklist", "values": ["gold", "silver"], "inactive": ["bronze"], "restricted": True},
    "Persona__c": {"type": "multipicklist", "values": ["buyer", "fan"], "restricted": True}, "Due__c": "date",
    "Seen__c": "datetime", "Score__c": "double"}}


@pytest.fixture
def org() -> Org:
    return Org(custom_fields=FIELDS)


def two(org: Org, **values: Any) -> tuple[str, str]:
    return org.create("Contact", LastName="One", **values), org.create("Contact", LastName="Two")


# --------------------------------------------------------------------------- collections

def test_a_collection_fails_row_by_row_with_200(org: Org) -> None:
    one, two_ = two(org)
    three = org.create("Contact", LastName="Three")
    results = org.patch({"id": one, "Email": "a@example.test"}, {"id": two_, "Email": "nonsense"},
                        {"Email": "x@y.example"}, {"id": "003000000000000AAA", "Title": "t"},
                        {"id": one, "Title": "again"}, {"id": three, "Nope__c": 1})
    assert results[0] == {"id": one, "success": True, "errors": []}
    assert [code(r) for r in results[1:]] == ["INVALID_EMAIL_ADDRESS", "MISSING_ARGUMENT",
                                              "INVALID_CROSS_REFERENCE_KEY",
                                              "DUPLICATE_VALUE", "INVALID_FIELD"]
    assert "id" not in results[1]
    assert results[1]["errors"][0]["fields"] == ["Email"]
    assert org.last.records == 1
    assert (org.last.route, org.last.write) == ("collections.update", True)


def test_all_or_none_takes_everything_back(org: Org) -> None:
    one, two_ = two(org)
    before = org.person(one)
    org.kernel.clock.advance(5)
    results = org.patch({"id": one, "Email": "a@example.test"}, {"id": two_, "Email": "nonsense"}, whole=True)
    assert [code(r) for r in results] == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "INVALID_EMAIL_ADDRESS"]
    assert org.person(one) == before
    assert org.last.records == 0
    assert org.query("SELECT Id FROM Contact WHERE Email = 'a@example.test'") == []
    assert len(org.query("SELECT Id FROM ContactHistory WHERE Field = 'Email'")) == 0


def test_collections_have_limits(org: Org) -> None:
    row = {"attributes": {"type": "Contact"}, "LastName": "x"}
    lead = {"attributes": {"type": "Lead"}, "LastName": "x", "Company": "c"}
    many = org.call("POST", "/composite/sobjects", {"records": [row] * 201})
    assert (many.status, many.body[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")
    mixed = org.call("POST", "/composite/sobjects", {"records": [row, lead] * 6})
    assert (mixed.status, mixed.body[0]["errorCode"]) == (400, "LIMIT_EXCEEDED")
    fine = org.call("POST", "/composite/sobjects", {"records": [row, lead] * 5})
    assert (fine.status, [r["success"] for r in fine.body]) == (200, [True] * 10)
    assert {r["id"][:3] for r in fine.body} == {"003", "00Q"}


@pytest.mark.parametrize(("values", "expected"), [
    ({"Email": "a" * 80 + "@example.test"}, "STRING_TOO_LONG"),
    ({"Level__c": "bronze"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    ({"Persona__c": "buyer;spy"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    ({"Due__c": "2024-02-30"}, "JSON_PARSER_ERROR"),
    ({"Seen__c": "2024-02-01"}, "JSON_PARSER_ERROR"), ({"Score__c": "much"}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
    ({"HasOptedOutOfEmail": None}, "INVALID_TYPE_ON_FIELD_IN_RECORD"), ({"LastName": None}, "REQUIRED_FIELD_MISSING"),
    ({"SystemModstamp": "2024-02-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ({"Name": "x"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ({"AccountId": "short"}, "MALFORMED_ID"), ({"AccountId": ids.long_form("0015g0000099999")},
                                               "INVALID_CROSS_REFERENCE_KEY"),
    ({"AccountId": INTEGRATION_USER}, "FIELD_INTEGRITY_EXCEPTION"), ({"Ext__c": "taken"}, "DUPLICATE_VALUE"),
])
def test_values_that_do_not_fit(org: Org, values: dict[str, Any], expected: str) -> None:
    org.create("Contact", LastName="Holder", Ext__c="TAKEN")
    record = org.create("Contact", LastName="Mine", Title="kept")
    before = org.person(record)
    assert code(org.patch({"id": record, "Title": "other", **values})[0]) == expected
    assert org.person(record) == before


def test_values_are_kept_as_they_come_back(org: Org) -> None:
    record = org.create("Contact", LastName="L", Persona__c="fan;buyer", Due__c="2024-02-29", Score__c="1.5",
                        Seen__c="2024-01-01T01:02:03.987+02:00")
    row = org.query("SELECT Persona__c, Due__c, Score__c, Seen__c, LastModifiedById FROM Contact")[0]
    assert (row["Persona__c"], row["Due__c"], row["Score__c"]) == ("buyer;fan", "2024-02-29", 1.5)
    assert row["Seen__c"] == "2023-12-31T23:02:03.000+0000"
    assert row["LastModifiedById"] == INTEGRATION_USER
    assert org.patch({"id": record, "Persona__c": None, "Score__c": ""})[0]["success"]
    row = org.query("SELECT Persona__c, Score__c FROM Contact")[0]
    assert (row["Persona__c"], row["Score__c"]) == (None, None)


def test_a_new_address_clears_the_bounce(org: Org) -> None:
    record = org.create("Contact", LastName="L", Email="a@example.test", EmailBouncedDate="2024-01-01T00:00:00Z",
                        EmailBouncedReason="550")
    assert org.query("SELECT IsEmailBounced FROM Contact")[0]["IsEmailBounced"] is True
    org.patch({"id": record, "Email": "b@example.test"})
    assert org.query("SELECT IsEmailBounced, EmailBouncedReason FROM Contact")[0]["EmailBouncedReason"] is None


# --------------------------------------------------------------------------- external ids

def test_upsert_by_external_id(org: Org) -> None:
    made = org.call("PATCH", "/sobjects/Contact/Ext__c/e1", {"LastName": "New"})
    assert (made.status, made.body["created"]) == (201, True)
    again = org.call("PATCH", "/sobjects/Contact/Ext__c/E1", {"LastName": "Newer"})
    assert (again.status, again.body["id"]) == (200, made.body["id"])
    rows = [{"attributes": {"type": "Contact"}, "Ext__c": v, "LastName": "C"} for v in ("e1", "e2", None)]
    results = org.call("PATCH", "/composite/sobjects/Contact/Ext__c", {"records": rows}).body
    assert [r.get("created") for r in results] == [False, True, None]
    assert code(results[2]) == "MISSING_ARGUMENT"
    for value in ("both", "both"):
        org.create("Contact", LastName=value, Tag__c="t")
    several = org.call("PATCH", "/sobjects/Contact/Tag__c/t", {"Title": "x"})
    assert several.status == 300
    assert len(several.body) == 2
    assert several.body[0].startswith("/services/data/v60.0/sobjects/Contact/003")
    assert org.call("PATCH", "/sobjects/Contact/Title/x", {"LastName": "x"}).status == 404


def test_two_upserts_of_a_new_id_collide() -> None:
    org = Org(custom_fields=FIELDS, upsert_race_seconds=1.0)
    assert org.call("PATCH", "/sobjects/Contact/Ext__c/e1", {"LastName": "New"}).status == 201
    clash = org.call("PATCH", "/sobjects/Contact/Ext__c/e1", {"LastName": "New"})
    assert (clash.status, clash.body[0]["errorCode"]) == (400, "DUPLICATE_VALUE")
    org.kernel.clock.advance(2)
    assert org.call("PATCH", "/sobjects/Contact/Ext__c/e1", {"LastName": "New"}).status == 200


# --------------------------------------------------------------------------- the organisation's rules

def test_validation_rules_run_on_every_save() -> None:
    org = Org(validation_rules=[{"object": "Contact", "when": "Phone = null", "message": "Telefon fehlt",
                                 "field": "Phone"}])
    org.sim.load({"Contact": [{"Id": ids.long_form("0035g00000zzzzz"), "LastName": "Old"}]})
    result = org.patch({"id": ids.long_form("0035g00000zzzzz"), "HasOptedOutOfEmail": True})[0]
    assert code(result) == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert result["errors"][0] == {"statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "Telefon fehlt",
                                   "fields": ["Phone"]}
    assert org.patch({"id": ids.long_form("0035g00000zzzzz"), "HasOptedOutOfEmail": True, "Phone": "1"})[0]["success"]


def test_a_flow_can_revert_an_opt_out() -> None:
    org = Org(flows=[{"object": "Contact", "when": "Title = 'vip'", "set": {"HasOptedOutOfEmail": False}}])
    record = org.create("Contact", LastName="L", Title="vip")
    assert org.patch({"id": record, "HasOptedOutOfEmail": True})[0]["success"]
    assert org.person(record)["opted_out"] is False


def test_duplicate_rules_yield_to_the_header() -> None:
    org = Org(duplicate_rules=[{"object": "Contact", "fields": ["Email"], "on": ["create", "update"]}])
    org.create("Contact", LastName="A", Email="a@example.test")
    record = org.create("Contact", LastName="B")
    row = {"id": record, "Email": "A@example.test"}
    refused = org.patch(row)[0]
    assert code(refused) == "DUPLICATES_DETECTED"
    assert refused["errors"][0]["duplicateResult"]["matchResults"][0]["matchRecords"]
    assert org.patch(row, sforce_duplicate_rule_header="allowSave=true; includeRecordDetails=true")[0]["success"]


def test_locks(org: Org) -> None:
    one, two_ = two(org)
    org.sim.writer.locked.add(one)
    org.sim.writer.in_approval.add(two_)
    results = org.patch({"id": one, "Title": "x"}, {"id": two_, "Title": "x"})
    assert [code(r) for r in results] == ["UNABLE_TO_LOCK_ROW", "ENTITY_IS_LOCKED"]
    org.sim.writer.locked.clear()
    assert org.patch({"id": one, "Title": "x"})[0]["success"]


def test_field_level_security(org: Org) -> None:
    record = org.create("Contact", LastName="L")
    org.sim.options.hidden_fields = {"Contact": ["HasOptedOutOfEmail"]}
    org.sim.options.read_only_fields = {"Contact": ["Title"]}
    described = org.get("/sobjects/Contact/describe")
    assert "HasOptedOutOfEmail" not in {f["name"] for f in described["fields"]}
    assert org.refusal("SELECT HasOptedOutOfEmail FROM Contact")[0] == "INVALID_FIELD"
    assert "HasOptedOutOfEmail" not in org.get(f"/sobjects/Contact/{record}")
    assert code(org.patch({"id": record, "HasOptedOutOfEmail": True})[0]) == "INVALID_FIELD"
    assert code(org.patch({"id": record, "Title": "x"})[0]) == "INVALID_FIELD_FOR_INSERT_UPDATE"
    assert org.act("edit", object="Contact", id=record, set={"opted_out": True})["changed"] == 1


def test_sharing_hides_rows_without_deleting_them() -> None:
    org = Org(sharing={"Contact": "Department != 'secret'"})
    seen = org.create("Contact", LastName="A")
    hidden = org.create("Contact", LastName="B", Department="secret")
    assert org.ids("SELECT Id FROM Contact", everything=True) == [seen]
    assert org.call("GET", f"/sobjects/Contact/{hidden}").status == 404
    assert {p["id"] for p in org.sim.world()["people"]} == {seen, hidden}


def test_campaign_members(org: Org) -> None:
    campaign = org.create("Campaign", Name="C")
    lead = org.create("Lead", LastName="L", Company="Co")
    contact = org.create("Contact", LastName="P")
    both = org.create("CampaignMember", CampaignId=campaign, LeadId=lead, ContactId=contact)
    row = org.query("SELECT LeadId, ContactId, Status, HasResponded FROM CampaignMember")[0]
    assert (row["LeadId"], row["ContactId"], row["Status"], row["HasResponded"]) == (None, contact, "Sent", False)
    again = org.call("POST", "/sobjects/CampaignMember", {"CampaignId": campaign, "ContactId": contact})
    assert again.body[0]["errorCode"] == "DUPLICATE_VALUE"
    org.create("CampaignMember", CampaignId=campaign, LeadId=lead)
    assert org.call("PATCH", f"/sobjects/CampaignMember/{both}", {"Status": "Responded"}).status == 204
    row = org.query(f"SELECT HasResponded, FirstRespondedDate FROM CampaignMember WHERE Id = '{both}'")[0]
    assert row["HasResponded"] is True
    assert row["FirstRespondedDate"]
    before = org.query("SELECT SystemModstamp FROM Contact")
    assert org.call("DELETE", f"/sobjects/CampaignMember/{both}").status == 204
    assert len(org.ids("SELECT Id FROM CampaignMember", everything=True)) == 1
    assert org.query("SELECT SystemModstamp FROM Contact") == before


# --------------------------------------------------------------------------- composite

def test_composite_references_and_rollback(org: Org) -> None:
    body = {"allOrNone": True, "compositeRequest": [
        {"method": "POST", "url": f"{V}/sobjects/Account", "referenceId": "acc", "body": {"Name": "A"}},
        {"method": "POST", "url": f"{V}/sobjects/Contact", "referenceId": "con",
         "body": {"LastName": "C", "AccountId": "@{acc.id}"}},
        {"method": "GET", "url": f"{V}/sobjects/Contact/@{{con.id}}?fields=Account.Name", "referenceId": "got"}]}
    answer = org.call("POST", "/composite", body).body["compositeResponse"]
    assert [a["httpStatusCode"] for a in answer] == [201, 201, 200]
    assert answer[2]["body"]["Account"]["Name"] == "A"
    body["compositeRequest"][1]["body"] = {"Email": "no name"}  # type: ignore[index]  # a plain nested literal
    answer = org.call("POST", "/composite", body).body["compositeResponse"]
    assert [a["httpStatusCode"] for a in answer] == [400, 400, 400]
    assert answer[1]["body"][0]["errorCode"] in ("INVALID_EMAIL_ADDRESS", "REQUIRED_FIELD_MISSING")
    assert answer[2]["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert len(org.ids("SELECT Id FROM Account")) == 1


# --------------------------------------------------------------------------- bulk

def ingest(org: Org, operation: str, text: str, **job: Any) -> dict[str, Any]:
    """Run one ingest job to its end; info and the three result tables."""
    made = org.call("POST", "/jobs/ingest", {"operation": operation, "object": "Contact", "contentType": "CSV",
                                             **job}).body
    assert made["state"] == "Open"
    path = f"/jobs/ingest/{made['id']}"
    assert org.call("PUT", path + "/batches", text.encode()).status == 201
    assert org.call("PUT", path + "/batches", text.encode()).status == 400, "content is uploaded once"
    assert org.call("PATCH", path, {"state": "UploadComplete"}).body["state"] == "UploadComplete"
    out: dict[str, Any] = {"info": org.get(path), "path": path}
    for name in ("successfulResults", "failedResults", "unprocessedrecords"):
        out[name] = list(csv.DictReader(io.StringIO(org.get(f"{path}/{name}"))))
    return out


def test_ingest_rows_fail_one_by_one(org: Org) -> None:
    one, two_ = two(org, Title="keep", Email="a@example.test")
    text = f"Id,Title,Email,HasOptedOutOfEmail\n{one},,#N/A,true\n{two_},x,nonsense,\n{two_},,,maybe\n"
    done = ingest(org, "update", text)
    assert (done["info"]["state"], done["info"]["numberRecordsFailed"]) == ("JobComplete", 2)
    assert done["successfulResults"] == [{"sf__Id": one, "sf__Created": "false", "Id": one, "Title": "",
                                          "Email": "#N/A",
                                          "HasOptedOutOfEmail": "true"}]
    assert [r["sf__Error"].split(":")[0] for r in done["failedResults"]] == ["INVALID_EMAIL_ADDRESS",
                                                                            "INVALID_TYPE_ON_FIELD_IN_RECORD"]
    assert done["failedResults"][0]["sf__Error"].endswith(":Email--")
    person = org.person(one)
    assert (person["email"], person["fields"]["Title"], person["opted_out"]) == (None, "keep", True)


def test_a_job_that_breaks_leaves_rows_unprocessed(org: Org) -> None:
    org.fault("partial", route="jobs/ingest", count=1)
    done = ingest(org, "insert", "LastName\nA\nB\nC\nD\n")
    assert done["info"]["state"] == "Failed"
    assert len(done["successfulResults"]) == 2
    assert [r["LastName"] for r in done["unprocessedrecords"]] == ["C", "D"]
    assert len(org.sim.world()["people"]) == 2


def test_other_ingest_operations(org: Org) -> None:
    done = ingest(org, "upsert", "Ext__c,LastName\nx,A\nx,B\n", externalIdFieldName="Ext__c")
    assert [r["sf__Created"] for r in done["successfulResults"]] == ["true", "false"]
    record = done["successfulResults"][0]["sf__Id"]
    assert ingest(org, "delete", f"Id\n{record}\n")["info"]["numberRecordsFailed"] == 0
    assert org.person(record)["deleted"] is True
    other = org.create("Contact", LastName="Z")
    ingest(org, "hardDelete", f"Id\n{other}\n")
    assert org.ids("SELECT Id FROM Contact", everything=True) == [record]
    unknown = ingest(org, "insert", "LastName,Nope\na,b\n")
    assert unknown["info"]["state"] == "Failed"
    assert "Nope" in unknown["info"]["errorMessage"]


def test_jobs_take_their_time_and_open_jobs_never_run(org: Org) -> None:
    org.sim.options.bulk_seconds = 30.0
    org.fault("slow_queue", seconds=60.0, count=1)
    made = org.call("POST", "/jobs/query", {"operation": "query", "query": "SELECT Id FROM Contact"}).body
    path = f"/jobs/query/{made['id']}"
    org.create("Contact", LastName="In time")
    states = [org.get(path)["state"] for _ in range(2)]
    assert org.call("GET", path + "/results").body[0]["errorCode"] == "INVALIDJOBSTATE"
    org.kernel.clock.advance(31)
    states.append(org.get(path)["state"])
    org.kernel.clock.advance(60)
    states.append(org.get(path)["state"])
    assert states == ["UploadComplete", "InProgress", "InProgress", "JobComplete"]
    org.create("Contact", LastName="Too late")
    assert org.get(path + "/results").count("003") == 1
    opened = org.call("POST", "/jobs/ingest", {"operation": "insert", "object": "Contact"}).body
    org.kernel.clock.advance(3600)
    assert org.get(f"/jobs/ingest/{opened['id']}")["state"] == "Open"
    assert org.call("PATCH", f"/jobs/ingest/{opened['id']}", {"state": "Aborted"}).body["state"] == "Aborted"
    assert org.call("DELETE", f"/jobs/ingest/{opened['id']}").status == 204
    assert org.call("GET", f"/jobs/ingest/{opened['id']}").status == 404


@pytest.mark.parametrize("header", [True, False])
def test_bulk_pages(header: bool) -> None:
    org = Org(bulk_header_every_page=header)
    org.sim.load({"Contact": [{"LastName": f'n"{i}\n', "HasOptedOutOfEmail": i % 2 == 0,
                               "CreatedDate": "2020-01-01T00:00:00Z"}
                              for i in range(2500)]})
    job = org.call("POST", "/jobs/query", {"operation": "queryAll", "lineEnding": "CRLF", "columnDelimiter": "PIPE",
                                           "query":
                                           "SELECT Id, LastName, Title, HasOptedOutOfEmail, CreatedDate, Owner.Name "
                                           "FROM Contact"}).body
    path, locator, rows, heads = f"/jobs/query/{job['id']}", "", [], 0
    assert org.get(path)["numberRecordsProcessed"] == 2500
    while locator != "null":
        page = org.call("GET", f"{path}/results?maxRecords=1200" + (f"&locator={locator}" if locator else ""))
        lines = list(csv.reader(io.StringIO(page.body, newline=""), delimiter="|"))
        if lines[0][0] == "Id":
            assert lines.pop(0) == ["Id", "LastName", "Title", "HasOptedOutOfEmail", "CreatedDate", "Owner.Name"]
            heads += 1
        assert int(page.headers["Sforce-NumberOfRecords"]) == len(lines) <= 1200
        rows += lines
        locator = page.headers["Sforce-Locator"]
    assert rows[1][1:] == ['n"1\n', "", "false", "2020-01-01T00:00:00.000Z", "Admin"]
    assert len({r[0] for r in rows}) == 2500
    assert (heads > 1) is header
