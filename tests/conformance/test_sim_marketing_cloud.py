"""The Marketing Cloud simulator on the wire: tokens, rows, SOAP. Independent of our connector."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from connectors.sim.kernel import Kernel
from connectors.sim.marketing_cloud import MarketingCloudSim
from tests.conformance.marketing_cloud_client import (
    API,
    AUDIENCE,
    EXTENSION,
    LIST,
    MID,
    Client,
    both,
    running,
    where,
)


@pytest.fixture
def mc() -> Iterator[Client]:
    with running() as client:
        yield client


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"SubscriberKey": f"K{number}", "EmailAddress": f"p{number}@mail.example", **more}


# --------------------------------------------------------------------------- tokens

def test_a_token_has_the_vendors_shape_and_dies(mc: Client) -> None:
    answer = mc.login(MID).json()
    assert answer["expires_in"] == 1079
    assert answer["rest_instance_url"] == answer["soap_instance_url"] == mc.base + "/"
    assert mc.rest("GET", f"/data/v1/customobjectdata/key/{AUDIENCE}/rowset").status_code == 200
    mc.pass_time(1_300)
    late = mc.rest("GET", f"/data/v1/customobjectdata/key/{AUDIENCE}/rowset")
    assert (late.status_code, late.json()["errorcode"], late.json()["message"]) == (401, 0, "Not Authorized")
    soap = mc.soap("Retrieve", f'<RetrieveRequestMsg xmlns="{API}"/>')
    assert soap.status_code == 500
    assert "q0:Security" in soap.text
    assert "Token Expired" in soap.text


def test_wrong_secret_and_foreign_unit_are_refused_alike(mc: Client) -> None:
    for reply in (mc.login(client_secret="guess"), mc.login(999)):
        assert reply.status_code == 401
        assert reply.json()["error"] == "invalid_client"


def test_an_empty_scope_gives_no_permission(mc: Client) -> None:
    mc.login(scope="")
    assert mc.put_rows([row(1)]).status_code == 403
    assert mc.page("Subscriber", ["Status"])[0].startswith("Error: API Permission Failed")


def test_a_token_belongs_to_one_business_unit() -> None:
    with running(business_units={1: {"name": "Parent"}, MID: {"name": "Child"}}, eid=1) as mc:
        mc.sim.load({"DataExtension": [{**EXTENSION, "Client.ID": MID}]})
        mc.login(MID)
        mc.store(row(1))
        assert mc.row_keys() == ["K1"]
        mc.login(1)
        assert mc.row_keys() == []  # the same key, another unit's extension
        assert {u["ID"] for u in mc.retrieve("BusinessUnit", ["ID", "MasterUnsubscribeBehavior"])} == {"1", str(MID)}


# --------------------------------------------------------------------------- the row queue

def test_accepted_is_not_stored(mc: Client) -> None:
    reply = mc.put_rows([row(1)])
    assert reply.status_code == 202
    request_id = reply.json()["requestId"]
    assert mc.status(request_id)["status"]["requestStatus"] == "Pending"
    assert mc.row_keys() == []
    mc.pass_time(60)
    done = mc.status(request_id)["status"]
    assert (done["requestStatus"], done["hasErrors"]) == ("Complete", False)
    assert not re.search(r"Z|[+-]\d\d:\d\d$", done["completionDateTime"])
    assert mc.row_keys() == ["K1"]


def test_errors_of_rows_do_not_name_their_row(mc: Client) -> None:
    found = mc.store(row(1), {**row(2), "EmailAddress": "no address"}, row(3, FirstName="much too long"), row(4))
    assert found["count"] == 2
    assert {tuple(sorted(i)) for i in found["items"]} == {("errorCode", "message", "status")}
    assert not any("K2" in i["message"] or "K3" in i["message"] for i in found["items"])
    assert mc.row_keys() == ["K1", "K4"]


def test_results_come_fifty_to_a_page(mc: Client) -> None:
    request_id = mc.put_rows([row(n, Visits="many") for n in range(120)]).json()["requestId"]
    mc.pass_time(60)
    assert [len(mc.results(request_id, f"?$page={p}")["items"]) for p in (1, 2, 3, 4)] == [50, 50, 20, 0]


def test_inserting_a_known_key_names_the_constraint_and_the_key(mc: Client) -> None:
    mc.store(row(1))
    request_id = mc.put_rows([row(1)], method="POST").json()["requestId"]
    mc.pass_time(60)
    [error] = mc.results(request_id)["items"]
    assert "PRIMARY KEY" in error["message"]
    assert "K1" in error["message"]


def test_an_unknown_request_is_an_error_inside_http_200(mc: Client) -> None:
    answer = mc.status("00000000-0000-0000-0000-000000000000")
    assert "status" not in answer
    assert answer["resultMessages"][0]["resultCode"] == "AsyncRequestStatusNotFound"


def test_a_restart_loses_pending_rows_and_every_request_id(mc: Client) -> None:
    done = mc.put_rows([row(1)]).json()["requestId"]
    mc.pass_time(60)
    mc.status(done)
    pending = mc.put_rows([row(2)]).json()["requestId"]
    assert mc.act("platform", "restart") == {"changed": 1}
    mc.pass_time(60)
    assert mc.row_keys() == ["K1"]
    assert "status" not in mc.status(done)
    assert "status" not in mc.status(pending)


def test_requests_overtake_each_other(mc: Client) -> None:
    for number in range(12):
        mc.put_rows([row(1, FirstName=str(number))])
    mc.pass_time(60)
    # With this seed the request accepted last is not the one applied last.
    assert mc.rowset()["items"][0]["values"]["firstname"] != "11"


def test_a_late_upsert_brings_a_deleted_row_back(mc: Client) -> None:
    mc.store(row(1))
    mc.fault("slow_queue", seconds=600.0, count=1)
    mc.put_rows([row(1, FirstName="late")])
    assert mc.delete_row("K1")["StatusCode"] == "OK"
    assert mc.row_keys() == []
    mc.pass_time(700)
    assert mc.row_keys() == ["K1"]


def test_what_the_queue_refuses_at_once(mc: Client) -> None:
    assert mc.put_rows([row(1)], key="NO_SUCH").status_code == 400
    assert mc.put_rows([{"SubscriberKey": str(n)} for n in range(32_001)]).status_code == 400
    mc.sim.load({"DataExtension": [{"CustomerKey": "HEAP", "Fields": [{"Name": "A"}]}]})
    assert mc.put_rows([{"A": "1"}], key="HEAP").status_code == 400  # no primary key
    assert mc.rest("PUT", f"/data/v1/async/dataextensions/key:{AUDIENCE}/rows", data="x").status_code == 415


def test_keys_are_case_insensitive_and_may_need_encoding(mc: Client) -> None:
    mc.sim.load({"DataExtension": [{**EXTENSION, "CustomerKey": "A&B/C <d>", "Name": "odd"}]})
    request = mc.put_rows([row(1), {"subscriberkey": "k1", "FIRSTNAME": "Ann"}], key="A%26B%2FC%20%3Cd%3E").json()
    mc.pass_time(60)
    assert mc.results(request["requestId"])["items"] == []
    [found] = mc.rowset(key="A%26B%2FC%20%3Cd%3E")["items"]
    assert found["values"] == {"emailaddress": "p1@mail.example", "firstname": "Ann"}
    assert len(mc.retrieve("DataExtensionObject[a&b/c <D>]", ["SubscriberKey"])) == 1


def test_a_partial_row_keeps_the_other_columns(mc: Client) -> None:
    mc.store(row(1, Spent="12.5", Since="2026-03-01T14:05:06", Vip=True, Visits=3))
    mc.store({"SubscriberKey": "K1", "Visits": 4, "Vip": None})
    assert mc.rowset()["items"][0]["values"] == {
        "emailaddress": "p1@mail.example", "spent": "12.50", "since": "3/1/2026 2:05:06 PM", "visits": "4"}


@pytest.mark.parametrize(("column", "value", "name"), [
    ("EmailAddress", "a@b", "InvalidEmailAddress"), ("Visits", "3000000000", "InvalidNumber"),
    ("Spent", "1.234", "InvalidDecimalScale"), ("Spent", "123456789.00", "InvalidDecimalPrecision"),
    ("Since", "yesterday", "InvalidDate"), ("Since", "1700-01-01", "InvalidDate"), ("Vip", "perhaps", "InvalidBoolean"),
    ("Nonsense", "1", "FieldNotFound"), ("SubscriberKey", "", "MissingRequired"),
])
def test_cells_are_checked(mc: Client, column: str, value: str, name: str) -> None:
    [error] = mc.store({**row(1), column: value})["items"]
    assert name in error["message"]
    assert mc.row_keys() == []


# --------------------------------------------------------------------------- synchronous rows, reading

def test_one_bad_row_fails_the_whole_synchronous_call(mc: Client) -> None:
    body = [{"keys": {"SubscriberKey": "K1"}, "values": {"EmailAddress": "p1@mail.example"}},
            {"keys": {"SubscriberKey": "K2"}, "values": {"EmailAddress": "bad"}}]
    reply = mc.rest("POST", f"/hub/v1/dataevents/key:{AUDIENCE}/rowset", json=body)
    assert (reply.status_code, reply.json()["errorcode"]) == (400, 10006)
    assert "InvalidEmailAddress" in reply.json()["additionalErrors"][0]["message"]
    assert mc.rest("POST", f"/hub/v1/dataevents/key:{AUDIENCE}/rowset", json=body[:1]).status_code == 200
    assert mc.row_keys() == ["K1"]


def test_pages_move_when_rows_go(mc: Client) -> None:
    mc.store(*[row(n) for n in range(6)])
    first = mc.rowset("?$page=1&$pagesize=3")
    assert (first["count"], len(first["items"]), "next" in first["links"]) == (6, 3, True)
    mc.delete_row("K0")
    second = mc.rowset("?$page=2&$pagesize=3")
    read = [i["keys"]["subscriberkey"] for i in first["items"] + second["items"]]
    assert "K3" not in read  # it slid into the page already read
    assert "next" not in second["links"]


def test_filters_orders_and_fields_of_a_rowset(mc: Client) -> None:
    mc.store(*[row(n, FirstName=f"N{n % 2}", Visits=n) for n in range(6)])
    found = mc.rowset("?$pagesize=10&$filter=FirstName eq 'N1' and Visits gt '1'&$orderBy=SubscriberKey desc"
                      "&$fields=FirstName")
    assert [i["keys"]["subscriberkey"] for i in found["items"]] == ["K5", "K3"]
    assert found["items"][0]["values"] == {"firstname": "N1"}


def test_some_tenants_have_no_rowset_reading() -> None:
    with running(rowset_reading=False) as mc:
        mc.store(row(1))
        assert mc.rest("GET", f"/data/v1/customobjectdata/key/{AUDIENCE}/rowset").status_code == 404
        assert mc.retrieve(f"DataExtensionObject[{AUDIENCE}]", ["SubscriberKey", "FirstName"]) == [
            {"PartnerKey": "", "ObjectID": "", "SubscriberKey": "K1", "FirstName": ""}]


def test_retention_deletes_rows_behind_everybodys_back(mc: Client) -> None:
    mc.sim.load({"DataExtension": [{**EXTENSION, "CustomerKey": "SHORT", "Name": "short", "RowBasedRetention": True,
                                    "DataRetentionPeriodLength": 2}]})
    mc.put_rows([row(1)], key="SHORT")
    mc.pass_time(86_400)
    mc.login()
    mc.put_rows([row(2)], key="SHORT")
    mc.pass_time(86_400 + 3_600)
    mc.login()
    assert [i["keys"]["subscriberkey"] for i in mc.rowset(key="SHORT")["items"]] == ["K2"]


# --------------------------------------------------------------------------- SOAP

def test_the_body_must_be_in_the_platforms_namespace_and_order(mc: Client) -> None:
    inside = "<RetrieveRequest><ObjectType>List</ObjectType><Properties>ID</Properties></RetrieveRequest>"
    assert mc.soap("Retrieve", f"<RetrieveRequestMsg>{inside}</RetrieveRequestMsg>").status_code == 500
    assert mc.soap("Retrieve", f'<RetrieveRequestMsg xmlns="{API}">{inside}</RetrieveRequestMsg>').status_code == 200
    wrong = "<RetrieveRequest><Properties>ID</Properties><ObjectType>List</ObjectType></RetrieveRequest>"
    refused = mc.soap("Retrieve", f'<RetrieveRequestMsg xmlns="{API}">{wrong}</RetrieveRequestMsg>')
    assert "out of sequence" in refused.text
    assert mc.soap("Create", f'<RetrieveRequestMsg xmlns="{API}">{inside}</RetrieveRequestMsg>').status_code == 500


def test_a_dtd_is_refused(mc: Client) -> None:
    body = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><x>&e;</x>'
    reply = mc.http.post(f"{mc.base}/Service.asmx", data=body, timeout=10,
                         headers={"Content-Type": "text/xml", "SOAPAction": "Retrieve"})
    assert reply.status_code == 500
    assert "DTD" in reply.text


def test_an_error_of_a_retrieve_is_http_200(mc: Client) -> None:
    assert mc.page("deliveryprofile", ["Name"])[0].startswith("Error: Unable to find a handler")
    assert mc.page("Subscriber", ["ModifiedDate"])[0].startswith("Error: The Request Property(s) ModifiedDate")


def test_pages_of_at_most_2500_continue_and_expire(mc: Client) -> None:
    mc.sim.load({f"DataExtensionObject[{AUDIENCE}]": [row(n) for n in range(2_600)]})
    kind = f"DataExtensionObject[{AUDIENCE}]"
    status, rows, more = mc.page(kind, ["SubscriberKey"], size=5_000)
    assert (status, len(rows)) == ("MoreDataAvailable", 2_500)
    status, rest, _ = mc.page(kind, ["SubscriberKey"], more=more)
    assert (status, len(rest)) == ("OK", 100)
    assert not {r["SubscriberKey"] for r in rows} & {r["SubscriberKey"] for r in rest}
    mc.pass_time(601)
    assert mc.page(kind, ["SubscriberKey"], more=more)[0].startswith("Error:")


def test_filters(mc: Client) -> None:
    mc.store(*[row(n, Visits=n, FirstName=f"N{n % 3}") for n in range(9)])

    def keys(filter_: str) -> list[str]:
        return [r["SubscriberKey"] for r in mc.retrieve(f"DataExtensionObject[{AUDIENCE}]", ["SubscriberKey"], filter_)]

    assert keys(where("Visits", "greaterThan", "6")) == ["K7", "K8"]
    assert keys(where("SubscriberKey", "IN", "k3", "K5", "K99")) == ["K3", "K5"]
    assert keys(where("Visits", "between", "2", "4")) == ["K2", "K3", "K4"]
    assert keys(both(where("FirstName", "equals", "n1"), where("Visits", "lessThan", "5"))) == ["K1", "K4"]
    assert keys(both(where("Visits", "equals", "0"), where("Visits", "equals", "8"), "OR")) == ["K0", "K8"]
    assert keys(where("Spent", "isNotNull")) == []
    assert mc.page("List", ["ID"], where("Nothing", "equals", "1"))[0].startswith("Error:")


def test_dates_have_no_zone_and_are_six_hours_behind(mc: Client) -> None:
    mc.subscriber("Create", "K1", "p1@mail.example")
    [found] = mc.retrieve("Subscriber", ["SubscriberKey", "CreatedDate"])
    now = mc.kernel.clock.now()
    shown = time.strftime("%Y-%m-%dT%H", time.gmtime(now - 6 * 3_600))
    assert found["CreatedDate"].startswith((shown, time.strftime("%Y-%m-%dT%H", time.gmtime(now - 6 * 3_600 - 5))))
    before = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now - 3_600))
    after_utc = where("CreatedDate", "greaterThan", before + "Z", date=True)
    after_server = where("CreatedDate", "greaterThan", before, date=True)  # read as server time: five hours ahead
    assert len(mc.retrieve("Subscriber", ["SubscriberKey"], after_utc)) == 1
    assert mc.retrieve("Subscriber", ["SubscriberKey"], after_server) == []


def test_a_data_extension_is_created_by_soap_with_its_quirks(mc: Client) -> None:
    def create(field: str, key: str = "NEW", kind: str = "Text") -> dict[str, str]:
        return mc.write("Create", f'<Objects xsi:type="DataExtension"><CustomerKey>{key}</CustomerKey>'
                        f"<Name>{key}</Name><IsSendable>true</IsSendable>"
                        "<SendableDataExtensionField><Name>Key</Name></SendableDataExtensionField>"
                        f"<SendableSubscriberField><Name>{field}</Name></SendableSubscriberField><Fields>"
                        f"<Field><Name>Key</Name><FieldType>{kind}</FieldType><MaxLength>20</MaxLength>"
                        "<IsPrimaryKey>true</IsPrimaryKey><IsRequired>true</IsRequired></Field>"
                        "<Field><Name>Mail</Name><FieldType>EmailAddress</FieldType></Field></Fields></Objects>")[1][0]

    assert create("_SubscriberKey")["StatusCode"] == "Error"
    assert create("Subscriber Key", kind="Date")["StatusCode"] == "Error"
    made = create("Subscriber Key")
    assert made["StatusMessage"] == "Data Extension created."
    assert create("Subscriber Key")["StatusCode"] == "Error"  # the key is taken
    [found] = mc.retrieve("DataExtension", ["ObjectID", "SendableSubscriberField.Name"],
                          where("CustomerKey", "equals", "NEW"))
    assert found["SendableSubscriberField.Name"] == "_SubscriberKey"
    assert found["ObjectID"] == made["NewObjectID"]
    fields = mc.retrieve("DataExtensionField", ["Name", "FieldType", "IsPrimaryKey"],
                         where("DataExtension.CustomerKey", "equals", "NEW"))
    assert [(f["Name"], f["FieldType"], f["IsPrimaryKey"]) for f in fields] == [
        ("Key", "Text", "true"), ("Mail", "EmailAddress", "false")]


def test_has_errors_is_http_200_and_the_good_objects_stay(mc: Client) -> None:
    objects = "".join(f'<Objects xsi:type="Subscriber"><EmailAddress>{e}</EmailAddress>'
                      f"<SubscriberKey>K{n}</SubscriberKey></Objects>"
                      for n, e in enumerate(("p0@mail.example", "bad", "p2@mail.example")))
    status, results = mc.write("Create", objects)
    assert status == "Has Errors"
    assert [(r["OrdinalID"], r["StatusCode"], r.get("ErrorCode")) for r in results] == [
        ("0", "OK", None), ("1", "Error", "12000"), ("2", "OK", None)]
    assert len(mc.retrieve("Subscriber", ["SubscriberKey"])) == 2


def test_deleting_with_the_wrong_key_name_reports_key_errors(mc: Client) -> None:
    mc.store(row(1))
    refused = mc.delete_row("K1", name="EmailAddress")
    assert refused["StatusCode"] == "Error"
    assert refused["KeyErrors.KeyError.Name"] == "EmailAddress"
    assert mc.row_keys() == ["K1"]


# --------------------------------------------------------------------------- throttling and faults

def test_throttling_looks_different_on_each_protocol() -> None:
    with running(limits={"rest": 1, "soap": 1}) as mc:
        assert mc.put_rows([row(1)]).status_code == 202
        limited = mc.put_rows([row(2)])
        assert (limited.status_code, limited.json()["errorcode"], limited.headers["Retry-After"]) == (429, 50100, "5")
        assert len(mc.retrieve("List", ["ID"])) == 2
        assert mc.soap("Retrieve", f'<RetrieveRequestMsg xmlns="{API}"/>').status_code == 500
        mc.pass_time(61)
        mc.fault("blocked", count=1)
        blocked = mc.put_rows([row(2)])
        assert (blocked.status_code, blocked.json()["errorcode"]) == (429, 50200)
        assert "Retry-After" not in blocked.headers


def test_a_reply_may_be_lost_after_the_write(mc: Client) -> None:
    mc.fault("reset_after", route="Service.asmx", count=1)
    with pytest.raises(requests.ConnectionError):
        mc.subscriber("Create", "K1", "p1@mail.example")
    assert mc.subscriber("Create", "K1", "p1@mail.example")["ErrorCode"] == "12014"


def test_faults_of_the_platform(mc: Client) -> None:
    mc.store(*[row(n, FirstName="x") for n in range(4)])
    mc.fault("truncated_page", object=AUDIENCE, count=1)
    cut = mc.rowset()
    assert (cut["count"], len(cut["items"])) == (4, 2)
    mc.fault("drop_field", object=AUDIENCE, field="FirstName", count=1)
    assert "FirstName" not in mc.retrieve(f"DataExtensionObject[{AUDIENCE}]", ["SubscriberKey", "FirstName"])[0]
    mc.fault("empty_list", object="List", count=1)
    assert mc.retrieve("List", ["ID"]) == []
    mc.fault("partial", count=1)
    assert mc.store(row(10), row(11))["count"] == 1
    mc.fault("token_expired", count=1)
    assert mc.put_rows([row(1)]).status_code == 401


# --------------------------------------------------------------------------- determinism

def test_the_same_seed_gives_the_same_tenant() -> None:
    def tell() -> Any:
        kernel = Kernel(seed=3)
        sim = MarketingCloudSim(kernel, topics={"offers": LIST})
        sim.load({"DataExtension": [EXTENSION]})
        queued = [sim.queue.put(MID, AUDIENCE, "upsert", []) for _ in range(5)]
        return [(q.id, round(q.due - q.accepted, 6)) for q in queued]
    assert tell() == tell()
