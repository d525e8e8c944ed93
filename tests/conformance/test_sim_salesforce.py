"""The simulated organisation as two public clients see it: simple-salesforce and aiosalesforce."""

from __future__ import annotations

import csv
import datetime as dt
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from connectors.sim.kernel import Fault
from tests.conformance.salesforce_clients import ID, SECRET, USER, House, aio, key_pair


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


@pytest.fixture
def sf(house: House) -> Salesforce:
    """A logged-in simple-salesforce at an organisation without records of earlier tests."""
    house.kernel.faults.clear()
    for object in ("Contact", "Lead", "Account", "ContactHistory"):
        for record in list(house.sim.db.tables[object].rows):
            house.sim.db.drop(object, record)
    house.sim.lifecycle.log.clear()
    return house.login()


# --------------------------------------------------------------------------- simple-salesforce

def test_every_login_that_should_work_works(house: House) -> None:
    assert house.login().sf_instance == "acme.my.salesforce.com"
    by_jwt = house.login(username=USER, consumer_key=ID, privatekey=house.private)
    assert by_jwt.limits()["DailyApiRequests"]["Max"] == 100_000


@pytest.mark.parametrize(("given", "description"), [
    ({"consumer_key": ID, "consumer_secret": "wrong", "domain": "acme.my"}, "invalid client credentials"),
    ({"consumer_key": "nobody", "consumer_secret": SECRET, "domain": "acme.my"}, "client identifier invalid"),
    ({"consumer_key": ID, "username": "other@example.test", "privatekey": "own"}, "user hasn't approved this consumer"),
    ({"consumer_key": ID, "username": USER, "privatekey": "other"}, "invalid assertion"),
    ({"consumer_key": ID, "username": USER, "privatekey": "own", "domain": "acme.my"}, "audience is invalid"),
    ({"username": USER, "password": "p", "consumer_key": ID, "consumer_secret": SECRET}, "grant type not supported"),
])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_other_login_is_refused(house: House, given: dict[str, str], description: str) -> None:
    if "privatekey" in given:
        given = {**given, "privatekey": house.private if given["privatekey"] == "own" else key_pair()[0]}
    with pytest.raises(SalesforceAuthenticationFailed, match=description):
        house.login(**given)


def test_query_and_query_all(house: House, sf: Salesforce) -> None:
    house.sim.load({"Contact": [{"LastName": f"n{i}", "Email": f"{i}@example.test"} for i in range(4500)]})
    first = sf.query("SELECT Id, Email FROM Contact ORDER BY SystemModstamp, Id")
    assert (first["totalSize"], first["done"]) == (4500, False)
    rest = sf.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    assert rest["records"]
    rows = list(sf.query_all_iter("SELECT Id, Email, SystemModstamp FROM Contact ORDER BY SystemModstamp, Id"))
    assert len({r["Id"] for r in rows}) == 4500
    assert dt.datetime.fromisoformat(rows[0]["SystemModstamp"]).microsecond == 0
    sf.Contact.delete(rows[0]["Id"])
    assert len(sf.query_all("SELECT Id FROM Contact")["records"]) == 4499
    assert len(sf.query_all("SELECT Id FROM Contact", include_deleted=True)["records"]) == 4500
    assert sf.api_usage["api-usage"].total == 100_000
    with pytest.raises(SalesforceMalformedRequest) as refused:
        sf.query("SELECT Nope FROM Contact")
    assert refused.value.content[0]["errorCode"] == "INVALID_FIELD"


def test_single_rows(sf: Salesforce) -> None:
    made = sf.Contact.create({"LastName": "Żółć", "Ext__c": "e 1/2"})
    assert made["success"] is True
    assert sf.Contact.update(made["id"], {"Title": "Dr", "HasOptedOutOfEmail": True}) == 204
    row = sf.Contact.get(made["id"])
    assert (row["LastName"], row["Title"], row["HasOptedOutOfEmail"]) == ("Żółć", "Dr", True)
    assert sf.Contact.upsert("Ext__c/new", {"LastName": "New"}) == 201
    assert sf.Contact.upsert("Ext__c/new", {"LastName": "Newer"}) == 200
    assert sf.Contact.get_by_custom_id("Ext__c", "new")["LastName"] == "Newer"
    sf.Contact.create({"LastName": "Twin", "Ext__c": "new"})
    with pytest.raises(SalesforceMoreThanOneRecord):
        sf.Contact.get_by_custom_id("Ext__c", "new")
    assert sf.Contact.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound) as gone:
        sf.Contact.get(made["id"])
    assert gone.value.content[0]["errorCode"] == "ENTITY_IS_DELETED"


def test_collections_through_restful(sf: Salesforce) -> None:
    people = [{"attributes": {"type": "Contact"}, "LastName": f"n{i}"} for i in range(200)]
    made = sf.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": people})
    ids = [r["id"] for r in made]
    assert len(set(ids)) == 200
    changes = [{"attributes": {"type": "Contact"}, "id": i, "HasOptedOutOfEmail": True} for i in ids]
    assert all(r["success"] for r in sf.restful("composite/sobjects", method="PATCH", json={"records": changes}))
    got = sf.restful("composite/sobjects/Contact", method="POST", json={"ids": [*ids[:2], "003000000000000AAA"],
                                                                        "fields": ["HasOptedOutOfEmail"]})
    assert [r and r["HasOptedOutOfEmail"] for r in got] == [True, True, None]
    gone = sf.restful("composite/sobjects", {"ids": ",".join(ids[:3]), "allOrNone": "false"}, method="DELETE")
    assert [r["success"] for r in gone] == [True] * 3


def test_bulk_two(house: House, sf: Salesforce) -> None:
    done = sf.bulk2.Contact.insert(records=[{"LastName": f"n{i}", "Email": f"{i}@example.test" if i else "nonsense"}
                                            for i in range(50)], wait=0)
    assert (done[0]["numberRecordsProcessed"], done[0]["numberRecordsFailed"]) == (50, 1)
    failed = list(csv.DictReader(io.StringIO(sf.bulk2.Contact.get_failed_records(done[0]["job_id"]))))
    assert failed[0]["sf__Error"].startswith("INVALID_EMAIL_ADDRESS:")
    ids = [r["sf__Id"] for r in csv.DictReader(io.StringIO(sf.bulk2.Contact.get_successful_records(done[0]["job_id"])))]
    sf.bulk2.Contact.update(records=[{"Id": ids[0], "Email": "#N/A"}, {"Id": ids[1], "Email": ""}], wait=0)
    pages = list(sf.bulk2.Contact.query("SELECT Id, Email, HasOptedOutOfEmail FROM Contact", max_records=20, wait=0))
    rows = {r["Id"]: r for page in pages for r in csv.DictReader(io.StringIO(page))}
    assert len(rows) == 49
    assert len(pages) == 3
    assert (rows[ids[0]]["Email"], rows[ids[1]]["Email"]) == ("", "2@example.test")
    assert {r["HasOptedOutOfEmail"] for r in rows.values()} == {"false"}
    assert sf.bulk2.Contact.get_unprocessed_records(done[0]["job_id"]).strip() in ('"LastName","Email"',
                                                                                   '"Email","LastName"')


def test_describe_limits_and_replication(house: House, sf: Salesforce) -> None:
    fields = {f["name"] for f in sf.Contact.describe()["fields"]}
    assert {"HasOptedOutOfEmail", "SystemModstamp", "MasterRecordId", "Ext__c"} <= fields
    assert "Contact" in {o["name"] for o in sf.describe()["sobjects"]}
    assert sf.Contact.metadata()["objectDescribe"]["keyPrefix"] == "003"
    assert sf.limits()["DailyBulkV2QueryJobs"]["Max"] == 10_000
    record = sf.Contact.create({"LastName": "x"})["id"]
    sf.Contact.delete(sf.Contact.create({"LastName": "y"})["id"])
    now = dt.datetime.fromtimestamp(house.kernel.clock.now(), dt.UTC)
    start, end = now - dt.timedelta(minutes=10), now + dt.timedelta(minutes=2)
    assert sf.Contact.updated(start, end)["ids"] == [record]
    assert len(sf.Contact.deleted(start, end)["deletedRecords"]) == 1


def test_the_library_meets_an_expired_session_and_an_empty_quota(house: House, sf: Salesforce) -> None:
    house.sim.tokens.revoke()
    assert sf.query("SELECT Id FROM Contact")["totalSize"] == 0, "the library logs in again by itself"
    house.kernel.faults.add(Fault("salesforce", "token_expired", route="/query"))
    with pytest.raises(SalesforceExpiredSession):
        sf.query("SELECT Id FROM Contact")
    house.kernel.faults.clear()
    house.sim.options.daily_requests = 0
    with pytest.raises(SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
        house.login().query("SELECT Id FROM Contact")
    house.sim.options.daily_requests = 100_000


def test_a_lost_reply_was_applied(house: House, sf: Salesforce) -> None:
    record = sf.Contact.create({"LastName": "x"})["id"]
    house.kernel.faults.add(Fault("salesforce", "reset_after", route="PATCH", count=1))
    with pytest.raises(requests.ConnectionError):
        sf.Contact.update(record, {"Title": "applied"})
    assert sf.Contact.get(record)["Title"] == "applied"


def test_speed(house: House, sf: Salesforce) -> None:
    """At least 20,000 records a second in processor time, read in pages and written in collections."""
    house.sim.load({"Contact": [{"LastName": "x", "Email": "x@example.test", "SystemModstamp": 1_700_000_000 + i // 900}
                                for i in range(20_000)]})
    token = sf.session_id
    base = f"http://127.0.0.1:{house.port}"
    with requests.Session() as session:
        session.headers.update({"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"})
        url = "/services/data/v60.0/query?q=SELECT+Id,Email,SystemModstamp+FROM+Contact+ORDER+BY+SystemModstamp,Id"
        began = time.process_time()
        ids: list[str] = []
        while url:
            page = session.get(base + url).json()
            ids += [r["Id"] for r in page["records"]]
            url = page.get("nextRecordsUrl")
        reading = time.process_time() - began
        began = time.process_time()
        for start in range(0, 4000, 200):
            rows = [{"attributes": {"type": "Contact"}, "id": i, "Title": "t"} for i in ids[start:start + 200]]
            assert session.patch(f"{base}/services/data/v60.0/composite/sobjects",
                                 json={"records": rows}).status_code == 200
        writing = time.process_time() - began
    assert len(ids) == 20_000
    assert reading < 3 * 20_000 / 20_000, "three times the goal, for busy machines"
    assert writing < 3 * 4_000 / 20_000, "three times the goal, for busy machines"


# --------------------------------------------------------------------------- aiosalesforce


def test_aiosalesforce_reads_and_writes(house: House, sf: Salesforce) -> None:
    house.sim.load({"Contact": [{"LastName": f"n{i}"} for i in range(2500)]})

    async def work(client: Any) -> None:
        assert len({row["Id"] async for row in client.query("SELECT Id FROM Contact")}) == 2500
        record = await client.sobject.create("Contact", {"LastName": "Async", "Ext__c": "a"})
        await client.sobject.update("Contact", record, {"Title": "T"})
        assert (await client.sobject.get("Contact", record, fields=["Title"]))["Title"] == "T"
        upserted = await client.sobject.upsert("Contact", "a", "Ext__c", {"Title": "U"})
        assert (upserted.id, upserted.created) == (record, False)
        await client.sobject.delete("Contact", record)
        assert len([row async for row in client.query("SELECT Id FROM Contact", include_all_records=True)]) == 2501
        house.sim.tokens.revoke()
        assert (await client.get_limits())["DailyApiRequests"]["Max"] == 100_000
    aio(house, work)


def test_aiosalesforce_composes(house: House, sf: Salesforce) -> None:
    async def work(client: Any) -> None:
        async with client.composite(all_or_none=True) as composite:
            account = composite.sobject.create("Account", {"Name": "A"})
            contact = composite.sobject.create("Contact", {"LastName": "C", "AccountId": str(account.reference.id)})
            found = composite.query("SELECT Account.Name FROM Contact")
        assert found.records[0]["Account"]["Name"] == "A"
        async with client.composite.batch() as batch:
            got = batch.sobject.get("Contact", contact.id)
            query = batch.query("SELECT Id FROM Account")
        assert got.record["AccountId"] == account.id
        assert query.records[0]["Id"] == account.id
    aio(house, work)


def test_aiosalesforce_ingests(house: House, sf: Salesforce) -> None:
    async def work(client: Any) -> None:
        jobs = client.bulk_v2.ingest
        people = [{"Ext__c": "x", "LastName": "One"}, {"Ext__c": "y", "LastName": ""}]
        running = jobs.perform_operation("upsert", "Contact", people, external_id_field="Ext__c", polling_interval=0.01)
        (done,) = [job async for job in running]
        assert done.job_info.state == "JobComplete"
        assert [r["sf__Created"] for r in done.successful_results] == ["true"]
        assert done.failed_results[0]["sf__Error"].startswith("REQUIRED_FIELD_MISSING:")
        assert done.unprocessed_records == []
        assert done.job_info.id in [j.id async for j in jobs.list_jobs()]
        await jobs.delete_job(done.job_info.id)
    aio(house, work)
