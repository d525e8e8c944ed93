"""What people do to the simulated organisation and what the API shows of it: deletes, merges, conversion, history."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from connectors.sim.kernel import BadAct
from connectors.sim.salesforce import CONNECT_USER, CRM_USER, GUEST_USER, INTEGRATION_USER
from tests.unit.sim_salesforce_lab import Org, V, code

TOPICS = {
    "offers": {"Contact": "Offers_Opt_In__c", "Lead": "Offers_Opt_In__c"},
    "news": {"Contact": {"field": "News_Status__c", "true": "Subscribed", "false": "Unsubscribed",
                         "said_at": "News_Date__c"}},
}


@pytest.fixture
def org() -> Org:
    return Org(topics=TOPICS, lead_conversion={"Offers_Opt_In__c": "Offers_Opt_In__c"})


def window(org: Org, before: int = 3600, after: int = 120) -> str:
    def text(offset: int) -> str:
        return dt.datetime.fromtimestamp(org.kernel.clock.now() + offset, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"start={text(-before)}&end={text(after)}"


def deleted(org: Org, object: str) -> list[str]:
    return [d["id"] for d in org.get(f"/sobjects/{object}/deleted/?{window(org)}")["deletedRecords"]]


# --------------------------------------------------------------------------- world

def test_the_world_tells_consent_in_neutral_words(org: Org) -> None:
    record = org.act("create", object="Contact", set={"LastName": "L", "Email": "l@example.test", "opted_out": True,
                                                      "topics": {"offers": True, "news": False}})["id"]
    lead = org.act("create", object="Lead", set={"LastName": "L", "Company": "C"})["id"]
    person = org.person(record)
    assert (person["object"], person["email"], person["opted_out"]) == ("Contact", "l@example.test", True)
    assert person["topics"] == {"offers": True, "news": False}
    assert person["fields"]["News_Status__c"] == "Unsubscribed"
    assert person["deleted"] is False
    assert org.person(lead)["topics"] == {"offers": False}
    org.act("edit", object="Contact", id=record, set={"topics": {"news": None, "offers": None}, "opted_out": False})
    assert org.person(record)["topics"] == {"offers": False, "news": None}
    assert org.query("SELECT HasOptedOutOfEmail, News_Status__c FROM Contact")[0]["News_Status__c"] is None


def test_the_world_is_paged_by_id(org: Org) -> None:
    for i in range(7):
        org.act("create", object=("Lead", "Contact")[i % 2],
                set={"LastName": str(i), **({} if i % 2 else {"Company": "c"})})
    whole = [p["id"] for p in org.sim.world()["people"]]
    assert whole == sorted(whole)
    paged: list[str] = []
    while page := org.sim.world(paged[-1] if paged else None, 2)["people"]:
        assert len(page) <= 2
        paged += [p["id"] for p in page]
    assert paged == whole


# --------------------------------------------------------------------------- acts

def test_mass_edits_go_by_condition(org: Org) -> None:
    for name, city in (("a", "Bonn"), ("b", "bonn"), ("c", "Ulm")):
        org.act("create", object="Contact", set={"LastName": name, "MailingCity": city})
    answer = org.act("mass_edit", object="Contact", where={"MailingCity": "BONN", "topics": {"offers": False}},
                     set={"opted_out": True})
    assert answer["changed"] == 2
    rows = org.query("SELECT LastName, LastModifiedById FROM Contact WHERE HasOptedOutOfEmail = true ORDER BY LastName")
    assert [(r["LastName"], r["LastModifiedById"]) for r in rows] == [("a", CRM_USER), ("b", CRM_USER)]


def test_a_web_form_is_the_persons_own_word(org: Org) -> None:
    made = org.act("form", object="Lead", set={"Email": "new@example.test", "LastName": "N",
                                               "topics": {"offers": True}})
    assert made["created"] is True
    row = org.query("SELECT Offers_Opt_In__c, Opt_In_Source__c, Opt_In_Date__c, Company, CreatedById FROM Lead")[0]
    assert (row["Offers_Opt_In__c"], row["Opt_In_Source__c"], row["CreatedById"]) == (True, "web", GUEST_USER)
    assert row["Opt_In_Date__c"].endswith(".000+0000")
    org.kernel.clock.advance(60)
    again = org.act("form", object="Lead", set={"Email": "NEW@example.test", "topics": {"offers": False}})
    assert (again["created"], again["id"]) == (False, made["id"])
    later = org.query("SELECT Offers_Opt_In__c, Opt_In_Date__c FROM Lead")[0]
    assert later["Offers_Opt_In__c"] is False
    assert later["Opt_In_Date__c"] > row["Opt_In_Date__c"]


def test_connect_echoes_opt_outs_only(org: Org) -> None:
    contact = org.act("create", object="Contact", set={"LastName": "L", "Email": "x@example.test"})["id"]
    lead = org.act("create", object="Lead", set={"LastName": "L", "Company": "c", "Email": "y@example.test"})["id"]
    echo = {"actor": "connect", "do": "echo", "keys": [contact], "emails": ["Y@example.test", "z@example.test"]}
    assert org.sim.act(echo)["ids"] == [contact, lead]
    assert org.sim.act(echo)["changed"] == 0
    rows = org.query("SELECT CreatedById FROM ContactHistory WHERE Field = 'HasOptedOutOfEmail'")
    assert [r["CreatedById"] for r in rows] == [CONNECT_USER]


@pytest.mark.parametrize("body", [
    {"do": "dance"}, {"do": "edit", "object": "Nothing", "id": "x"}, {"do": "edit", "object": "Contact", "id": "x"},
    {"do": "edit", "object": "Contact", "set": {}},
    {"do": "create", "object": "Contact", "set": {"Email": "a@example.test"}},
    {"do": "create", "object": "Contact", "set": {"LastName": "L", "topics": {"nope": True}}},
    {"do": "edit", "object": "Contact", "where": {"Nope": 1}, "set": {}},
    {"do": "merge", "object": "Contact", "id": "x"},
    {"do": "undelete", "object": "Contact", "id": "{contact}"},
    {"do": "merge", "object": "Contact", "id": "{contact}", "into": "{contact}"},
    {"do": "create", "object": "Contact", "crm": "odoo"}, {"do": "create", "actor": "recipient"},
])
def test_senseless_acts_are_refused_whole(org: Org, body: dict[str, Any]) -> None:
    contact = org.act("create", object="Contact", set={"LastName": "L"})["id"]
    before = org.sim.world()
    given = {k: contact if v == "{contact}" else v for k, v in body.items()}
    with pytest.raises(BadAct, match="salesforce"):
        org.sim.act({"actor": "crm_user", "crm": "salesforce", **given})
    assert org.sim.world() == before


# --------------------------------------------------------------------------- deletes

def test_the_bin(org: Org) -> None:
    account = org.create("Account", Name="A")
    contact = org.create("Contact", LastName="L", AccountId=account)
    deal = org.create("Opportunity", Name="O", StageName="Closed Won", CloseDate="2024-01-01", AccountId=account)
    role = org.create("OpportunityContactRole", OpportunityId=deal, ContactId=contact)
    org.kernel.clock.advance(120)
    org.act("delete", object="Account", id=account)
    assert org.ids("SELECT Id FROM Contact") == []
    row = org.query("SELECT Id, IsDeleted, MasterRecordId FROM Contact", everything=True)[0]
    assert (row["IsDeleted"], row["MasterRecordId"]) == (True, None)
    assert org.query("SELECT IsDeleted FROM OpportunityContactRole", everything=True)[0]["IsDeleted"] is True
    assert deleted(org, "Contact") == [contact]
    assert org.person(contact)["deleted"] is True
    gone = org.call("PATCH", f"/sobjects/Contact/{contact}", {"Title": "x"})
    assert (gone.status, gone.body[0]["errorCode"]) == (404, "ENTITY_IS_DELETED")
    org.act("undelete", object="Account", id=account)
    assert org.ids("SELECT Id FROM Contact") == [contact]
    assert org.ids("SELECT Id FROM OpportunityContactRole") == [role]
    assert deleted(org, "Contact") == []


def test_what_leaves_no_trace(org: Org) -> None:
    deal = org.create("Opportunity", Name="O", StageName="Closed Won", CloseDate="2024-01-01")
    contact = org.create("Contact", LastName="L")
    role = org.create("OpportunityContactRole", OpportunityId=deal, ContactId=contact)
    org.kernel.clock.advance(120)
    org.call("DELETE", f"/sobjects/OpportunityContactRole/{role}")
    assert org.ids("SELECT Id FROM OpportunityContactRole", everything=True) == []
    assert deleted(org, "OpportunityContactRole") == []
    again = org.create("OpportunityContactRole", OpportunityId=deal, ContactId=contact)
    org.act("delete", object="Contact", id=contact, hard=True)
    assert org.ids("SELECT Id FROM Contact", everything=True) == []
    assert deleted(org, "Contact") == [contact]
    assert org.ids("SELECT Id FROM OpportunityContactRole") == [again], "a role may point to a contact that is gone"


def test_the_bin_empties_itself(org: Org) -> None:
    contact = org.create("Contact", LastName="L")
    org.act("delete", object="Contact", id=contact)
    org.kernel.clock.advance(14 * 86400)
    org.login()
    assert org.ids("SELECT Id FROM Contact", everything=True) == [contact]
    org.kernel.clock.advance(2 * 86400)
    org.login()
    assert org.ids("SELECT Id FROM Contact", everything=True) == []
    with pytest.raises(BadAct, match="no Contact"):
        org.act("undelete", object="Contact", id=contact)


def test_replication_calls_check_their_window(org: Org) -> None:
    contact = org.create("Contact", LastName="L")
    answer = org.get(f"/sobjects/Contact/updated/?{window(org)}")
    assert answer["ids"] == [contact]
    assert answer["latestDateCovered"].endswith(":00.000+0000")
    cut = org.get(f"/sobjects/Contact/updated/?{window(org, 3600, 30)}")
    assert cut["ids"] == [], "seconds are cut off: the end is the minute's beginning, before the row's stamp"
    org.sim.options.replication_stall = 1800.0
    assert org.get(f"/sobjects/Contact/updated/?{window(org)}")["latestDateCovered"] < answer["latestDateCovered"]
    for call, before, after in (("updated", 31 * 86400, 0), ("updated", 0, 0), ("deleted", 16 * 86400, 0),
                                ("deleted", 60, 0)):
        refused = org.call("GET", f"/sobjects/Contact/{call}/?{window(org, before, after)}")
        assert (refused.status, refused.body[0]["errorCode"]) == (400, "INVALID_REPLICATION_DATE"), call
    assert org.call("GET", "/sobjects/Contact/updated/?start=2024-01-01&end=now").status == 400


# --------------------------------------------------------------------------- merges

def test_a_merge_leaves_the_opt_out_on_the_loser(org: Org) -> None:
    campaign = org.create("Campaign", Name="C")
    loser = org.create("Contact", LastName="L", Email="l@example.test", HasOptedOutOfEmail=True)
    winner = org.create("Contact", LastName="W", Email="w@example.test")
    third = org.create("Contact", LastName="T")
    for who in (loser, winner):
        org.create("CampaignMember", CampaignId=campaign, ContactId=who)
    deal = org.create("Opportunity", Name="O", StageName="Prospecting", CloseDate="2024-01-01")
    org.create("OpportunityContactRole", OpportunityId=deal, ContactId=loser)
    stamp = org.query(f"SELECT SystemModstamp FROM Contact WHERE Id = '{winner}'")
    org.kernel.clock.advance(120)
    org.act("merge", object="Contact", id=loser, into=winner)
    row = org.query(f"SELECT Id, IsDeleted, MasterRecordId, HasOptedOutOfEmail FROM Contact WHERE Id = '{loser}'",
                    everything=True)[0]
    assert (row["IsDeleted"], row["MasterRecordId"], row["HasOptedOutOfEmail"]) == (True, winner, True)
    assert org.person(winner)["opted_out"] is False
    assert org.person(loser)["merged_into"] == winner
    assert org.query(f"SELECT SystemModstamp FROM Contact WHERE Id = '{winner}'") == stamp
    assert [r["ContactId"] for r in org.query("SELECT ContactId FROM OpportunityContactRole")] == [winner]
    assert [r["ContactId"] for r in org.query("SELECT ContactId FROM CampaignMember")] == [winner]
    assert deleted(org, "Contact") == [loser]
    org.act("merge", object="Contact", id=winner, into=third, set={"opted_out": True})
    assert org.person(third)["opted_out"] is True


# --------------------------------------------------------------------------- conversion

def test_conversion_into_a_new_contact_carries_the_flags(org: Org) -> None:
    campaign = org.create("Campaign", Name="C")
    lead = org.act("create", object="Lead", set={"LastName": "L", "Company": "Co", "City": "Bonn", "opted_out": True,
                                                 "Email": "l@example.test", "topics": {"offers": True}})["id"]
    org.create("CampaignMember", CampaignId=campaign, LeadId=lead)
    became = org.act("convert", object="Lead", id=lead, opportunity="Deal")
    contact = org.person(became["ConvertedContactId"])
    assert (contact["opted_out"], contact["topics"]["offers"], contact["email"]) == (True, True, "l@example.test")
    assert contact["fields"]["MailingCity"] == "Bonn"
    row = org.query("SELECT IsConverted, ConvertedDate, ConvertedContactId, HasOptedOutOfEmail FROM Lead")[0]
    assert (row["IsConverted"], row["ConvertedContactId"], row["HasOptedOutOfEmail"]) == (True, contact["id"], True)
    assert len(row["ConvertedDate"]) == 10
    assert org.query("SELECT Account.Name FROM Contact")[0]["Account"]["Name"] == "Co"
    assert org.query("SELECT LeadId, ContactId FROM CampaignMember")[0]["ContactId"] == contact["id"]
    assert len(org.ids("SELECT Id FROM OpportunityContactRole")) == 1
    assert code(org.patch({"id": lead, "HasOptedOutOfEmail": False},
                          object="Lead")[0]) == "CANNOT_UPDATE_CONVERTED_LEAD"


def test_conversion_into_an_existing_contact_loses_the_flags(org: Org) -> None:
    contact = org.act("create", object="Contact", set={"LastName": "Kept"})["id"]
    lead = org.act("create", object="Lead", set={"LastName": "L", "Company": "Co", "opted_out": True,
                                                 "Email": "l@example.test",
                                                 "topics": {"offers": True}})["id"]
    org.act("convert", object="Lead", id=lead, into=contact)
    person = org.person(contact)
    assert (person["opted_out"], person["topics"]["offers"]) == (False, False)
    assert (person["email"], person["fields"]["LastName"]) == ("l@example.test", "Kept")


# --------------------------------------------------------------------------- history

def test_history_names_field_values_and_author(org: Org) -> None:
    contact = org.create("Contact", LastName="L")
    org.kernel.clock.advance(10)
    org.act("edit", object="Contact", id=contact, set={"opted_out": True, "Title": "untracked"})
    org.patch({"id": contact, "HasOptedOutOfEmail": False})
    rows = org.query("SELECT ContactId, OldValue, NewValue, CreatedById, DataType FROM ContactHistory "
                     f"WHERE Field = 'HasOptedOutOfEmail' AND ContactId = '{contact}' ORDER BY CreatedDate, Id")
    assert [(r["OldValue"], r["NewValue"], r["CreatedById"]) for r in rows] == [
        (False, True, CRM_USER), (True, False, INTEGRATION_USER)]
    made = org.query("SELECT Contact.LastName FROM ContactHistory WHERE Field = 'created'")
    assert made[0]["Contact"]["LastName"] == "L"
    assert org.ids("SELECT Id FROM ContactHistory WHERE Field = 'Title'") == []
    untracked = Org(tracked={})
    assert untracked.call("GET", "/sobjects/ContactHistory/describe").status == 404


# --------------------------------------------------------------------------- person accounts

@pytest.fixture
def persons() -> Org:
    return Org(person_accounts=True, custom_fields={"Contact": {"Vip__c": "boolean"}})


def test_a_person_account_is_two_rows(persons: Org) -> None:
    account = persons.create("Account", LastName="Doe", FirstName="Jo", PersonEmail="jo@example.test", Vip__pc=True)
    row = persons.query("SELECT Name, IsPersonAccount, PersonContactId, PersonHasOptedOutOfEmail, Vip__pc "
                        "FROM Account")[0]
    contact = row["PersonContactId"]
    assert (row["Name"], row["IsPersonAccount"], row["PersonHasOptedOutOfEmail"], row["Vip__pc"]) == ("Jo Doe", True,
                                                                                                      False, True)
    persons.kernel.clock.advance(60)
    assert persons.patch({"id": contact, "HasOptedOutOfEmail": True})[0]["success"]
    rows = persons.query("SELECT PersonHasOptedOutOfEmail, LastModifiedDate, SystemModstamp FROM Account")
    other = persons.query("SELECT LastModifiedDate, IsPersonAccount, Account.PersonEmail FROM Contact")[0]
    assert rows[0]["PersonHasOptedOutOfEmail"] is True
    assert rows[0]["LastModifiedDate"] == other["LastModifiedDate"]
    assert (other["IsPersonAccount"], other["Account"]["PersonEmail"]) == (True, "jo@example.test")
    persons.kernel.clock.advance(60)
    assert persons.call("PATCH", f"/sobjects/Account/{account}", {"Industry": "Retail"}).status == 204
    assert persons.query("SELECT LastModifiedDate FROM Contact")[0]["LastModifiedDate"] > other["LastModifiedDate"]
    for path, body in ((f"/sobjects/Contact/{contact}", {"AccountId": account}),
                       (f"/sobjects/Account/{account}", {"Name": "x"})):
        refused = persons.call("PATCH", path, body)
        assert refused.body[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
        assert "bad field names" in refused.body[0]["message"]
    business = persons.create("Account", Name="Firm")
    assert "Vip__pc" in persons.call("PATCH", f"/sobjects/Account/{business}", {"Vip__pc": True}).body[0]["message"]


def test_person_accounts_are_deleted_and_merged_as_one(persons: Org) -> None:
    persons.sim.load({"Account": [{"IsPersonAccount": True, "LastName": n, "PersonEmail": f"{n}@example.test"}
                                  for n in "abc"]})
    rows = persons.query("SELECT Id, PersonContactId FROM Account ORDER BY Id")
    persons.act("merge", object="Account", id=rows[0]["Id"], into=rows[1]["Id"])
    lost = persons.query("SELECT MasterRecordId FROM Contact WHERE IsDeleted = true", everything=True)
    assert [r["MasterRecordId"] for r in lost] == [rows[1]["PersonContactId"]]
    persons.call("DELETE", f"/sobjects/Contact/{rows[2]['PersonContactId']}")
    assert persons.ids("SELECT Id FROM Account") == [rows[1]["Id"]]
    assert persons.ids("SELECT Id FROM Contact") == [rows[1]["PersonContactId"]]
    persons.act("undelete", object="Contact", id=rows[2]["PersonContactId"])
    assert len(persons.ids("SELECT Id FROM Account")) == 2


def test_describe_and_not_modified(org: Org) -> None:
    answer = org.call("GET", "/sobjects/Contact/describe")
    fields = {f["name"]: f for f in answer.body["fields"]}
    assert (fields["Email"]["type"], fields["Email"]["length"]) == ("email", 80)
    assert fields["SystemModstamp"]["updateable"] is False
    assert fields["AccountId"]["relationshipName"] == "Account"
    assert [v["value"] for v in fields["News_Status__c"]["picklistValues"]] == ["Subscribed", "Unsubscribed"]
    assert (answer.body["keyPrefix"], answer.body["mergeable"], answer.body["replicateable"]) == ("003", True, True)
    since = answer.headers["Last-Modified"]
    assert org.call("GET", "/sobjects/Contact/describe", if_modified_since=since).status == 304
    org.kernel.clock.advance(5)
    org.sim.options.hidden_fields = {"Contact": ["Email"]}
    assert org.call("GET", "/sobjects/Contact/describe", if_modified_since=since).status == 200
    names = {o["name"] for o in org.get("/sobjects")["sobjects"]}
    assert {"Contact", "Lead", "ContactHistory", "User", "Organization"} <= names
    assert "et4ae5__SendDefinition__c" in {o["name"] for o in Org(connect=True).get("/sobjects")["sobjects"]}
    assert org.get(f"{V}/sobjects/Organization/{org.ids('SELECT Id FROM Organization')[0]}")["InstanceName"] == "SIM1"
