"""The simulated organisation's consent objects as two public clients see them: found, created, changed, deleted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest

from tests.conformance.salesforce_clients import House, aio

ON = "2026-01-02T03:04:05Z"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    made = House(data_protection=True)
    yield made
    made.close()


@pytest.fixture
def sf(house: House) -> Salesforce:
    return house.login()


def party(sf: Salesforce) -> tuple[str, str]:
    """(Individual, Contact) of a new person."""
    individual = sf.Individual.create({"FirstName": "Ann", "LastName": "Lee"})["id"]
    return individual, sf.Contact.create({"LastName": "Lee", "Email": "ann@x.example", "IndividualId": individual})["id"]


def save(sf: Salesforce, method: str, *records: dict[str, Any]) -> list[Any]:
    """One Collections call."""
    return list(sf.restful("composite/sobjects", method=method, json={"allOrNone": False, "records": records}))


def test_a_party_s_consent_by_type_of_contact_point(sf: Salesforce) -> None:
    individual, contact = party(sf)
    purpose = sf.DataUsePurpose.create({"Name": "Marketing"})["id"]
    row = {"attributes": {"type": "ContactPointTypeConsent"}, "Name": "email", "PartyId": individual,
           "ContactPointType": "Email", "PrivacyConsentStatus": "OptIn", "EffectiveFrom": ON, "CaptureDate": ON,
           "CaptureSource": "web", "DataUsePurposeId": purpose}
    made, bad, lacking = save(sf, "POST", row, {**row, "PrivacyConsentStatus": "Perhaps"}, {**row, "PartyId": None})
    assert made["success"]
    assert [r["errors"][0]["statusCode"] for r in (bad, lacking)] == [
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "REQUIRED_FIELD_MISSING"]
    change = {"attributes": {"type": "ContactPointTypeConsent"}, "id": made["id"], "PrivacyConsentStatus": "OptOut"}
    assert save(sf, "PATCH", change)[0]["success"]
    found = sf.query("SELECT Party.Name, DataUsePurpose.Name, PrivacyConsentStatus, CaptureDate, SystemModstamp FROM "
                     f"ContactPointTypeConsent WHERE PartyId IN ('{individual}') AND ContactPointType = 'Email'")["records"]
    assert [(r["Party"]["Name"], r["DataUsePurpose"]["Name"], r["PrivacyConsentStatus"]) for r in found] == [
        ("Ann Lee", "Marketing", "OptOut")]
    assert found[0]["CaptureDate"].startswith("2026-01-02T03:04:05")
    assert sf.query(f"SELECT Individual.Name FROM Contact WHERE IndividualId = '{individual}'")["records"][0]["Individual"]
    sf.ContactPointTypeConsent.delete(made["id"])
    query = f"SELECT Id, IsDeleted FROM ContactPointTypeConsent WHERE PartyId = '{individual}'"
    assert sf.query(query)["records"] == []
    assert [r["IsDeleted"] for r in sf.query_all(query, include_deleted=True)["records"]] == [True]
    assert sf.Contact.get(contact)["IndividualId"] == individual


def test_consent_to_a_subscription(sf: Salesforce) -> None:
    individual, contact = party(sf)
    subscription = sf.CommSubscription.create({"Name": "Offers"})["id"]
    email = sf.EngagementChannelType.create({"Name": "Email", "ContactPointType": "Email"})["id"]
    channel = sf.CommSubscriptionChannelType.create(
        {"Name": "Offers by email", "CommSubscriptionId": subscription, "EngagementChannelTypeId": email})["id"]
    point = sf.ContactPointEmail.create({"ParentId": individual, "EmailAddress": "ann@x.example"})["id"]
    kind = {"attributes": {"type": "CommSubscriptionConsent"}}
    row = {**kind, "Name": "offers", "CommSubscriptionChannelTypeId": channel, "ContactPointId": point,
           "PrivacyConsentStatus": "OptIn", "EffectiveFromDate": "2026-01-02"}
    made = save(sf, "POST", {**row, "ConsentGiverId": individual}, {**row, "ConsentGiverId": contact},
                {**row, "ConsentGiverId": subscription}, {k: v for k, v in row.items() if k != "EffectiveFromDate"})
    assert [r["success"] for r in made] == [True, True, False, False]
    assert made[2]["errors"][0]["statusCode"] == "FIELD_INTEGRITY_EXCEPTION"
    by_name = "CommSubscriptionChannelType.CommSubscription.Name = 'Offers'"
    assert sf.query(f"SELECT Id FROM CommSubscriptionConsent WHERE {by_name}")["totalSize"] == 2
    with pytest.raises(SalesforceMalformedRequest):  # it may lead to several objects
        sf.query("SELECT ConsentGiver.LastName FROM CommSubscriptionConsent")
    described = {f["name"]: f["referenceTo"] for f in sf.CommSubscriptionConsent.describe()["fields"]}
    assert described["ConsentGiverId"] == ["Individual", "Contact", "Account", "User"]
    pages = list(sf.bulk2.CommSubscriptionConsent.query(
        "SELECT Id, ConsentGiverId, PrivacyConsentStatus FROM CommSubscriptionConsent", wait=0))
    assert {r["ConsentGiverId"] for page in pages for r in csv.DictReader(io.StringIO(page))} == {individual, contact}


def test_aiosalesforce_keeps_consent(house: House, sf: Salesforce) -> None:
    individual, _ = party(sf)

    async def work(client: Any) -> None:
        made = await client.sobject.create("ContactPointTypeConsent", {
            "Name": "email", "PartyId": individual, "ContactPointType": "Email", "PrivacyConsentStatus": "OptIn"})
        await client.sobject.update("ContactPointTypeConsent", made, {"PrivacyConsentStatus": "OptOut"})
        query = f"SELECT PrivacyConsentStatus FROM ContactPointTypeConsent WHERE PartyId = '{individual}'"
        assert [row["PrivacyConsentStatus"] async for row in client.query(query)] == ["OptOut"]
    aio(house, work)
