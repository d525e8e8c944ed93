"""Consent that lies at Salesforce's Individuals: how a mapping names it, and what is said where it does not fit."""

from __future__ import annotations

import pytest

from mappings.checks import check_online
from mappings.fields import record_fields
from syncd.model import Catalogue, FieldInfo, ObjectInfo
from tests.unit.mapping_lab import good, problems_of, single

PEOPLE = """\
people:
  sources:
    sf.Contact:
      attributes: {email: Email}
      contact_point_consent: {purpose: Marketing, person_made: "method = 'web'"}
    sf.Lead: {attributes: {email: Email}}
"""
TOPIC = """\
topics:
  offers:
    name: Offers
    opt_in: required
    consent:
      sf.Contact: {field: Offers__c, "true": opt_in, "false": unknown}
      sf: {comm_subscription: Weekly_Offers, person_made: "method in ('web', 'double opt-in')"}
"""
MASTER, OFFERS = "ContactPointTypeConsent.Email_Marketing", "CommSubscriptionConsent.Weekly_Offers"


def test_a_subscription_is_a_field_of_contacts_and_leads() -> None:
    mapping = good(PEOPLE + TOPIC)
    fields = [(f.stream, f.field) for f in mapping.topics["offers"].fields.values()]
    assert fields == [("sf.Contact", "Offers__c"), ("sf.Contact", OFFERS), ("sf.Lead", OFFERS)]
    held = [*mapping.topics["offers"].fields.values()][1]
    assert (held.values, held.silent, held.needs) == (
        {"OptIn": "opt_in", "OptOut": "opt_out"}, (None, "Seen", "NotSeen"), "IndividualId")
    assert [f.field for f in mapping.people.sources["sf.Contact"].consents] == [MASTER]
    assert set(record_fields(mapping)["sf.Contact"]) == {"Email", "Offers__c", "IndividualId"} | {
        f"{name}{more}" for name in (MASTER, OFFERS) for more in ("", ".CaptureDate", ".CaptureSource")}
    assert good(PEOPLE.replace("{purpose: Marketing, person_made: \"method = 'web'\"}", "{}") + TOPIC).people.sources[
        "sf.Contact"].consents[0].field == "ContactPointTypeConsent.Email"


@pytest.mark.parametrize(("before", "after", "problem"), [
    ("comm_subscription: Weekly_Offers,", "comm_subscription: Weekly_Offers, said_at: Then__c,",
     "A subscription says itself when and how: said_at is of no use."),
    ("      sf: {comm", "      odoo: {comm", 'No people come from contacts, leads or accounts of "odoo".'),
    ("Weekly_Offers", "Weekly Offers", "Use letters, digits, underscores and dots."),
    ("sf.Contact: {field: Offers__c,", "sf.Contact: {comm_subscription: X, field: Offers__c,",
     "A stream's consent is in a field, not on a list."),
    ("    sf.Lead:", "    sf.User: {attributes: {email: Email}, contact_point_consent: {}}\n    sf.Lead:",
     'Records of "User" point to no Individual.'),
])
def test_what_makes_no_sense_is_said(before: str, after: str, problem: str) -> None:
    assert before in PEOPLE + TOPIC
    assert any(problem in found for found in problems_of((PEOPLE + TOPIC).replace(before, after)))


def catalogue(*names: str, writable: bool = True) -> Catalogue:
    consents = [FieldInfo(name, "text", choices=("OptIn", "OptOut", "Seen", "NotSeen"), writable=writable) for name in names]
    beside = [FieldInfo(name + more, kind) for name in names for more, kind in (  # type: ignore[arg-type]  # field types
        (".CaptureDate", "instant"), (".CaptureSource", "text"))]
    own = (FieldInfo("Email", "text"), FieldInfo("Offers__c", "bool"), FieldInfo("IndividualId", "id"))
    return Catalogue({name: ObjectInfo(name, fields=(*own, *consents, *beside)) for name in ("Contact", "Lead")})


def test_what_salesforce_does_not_offer_is_found_with_what_it_does() -> None:
    mapping = good(PEOPLE + TOPIC)

    def problems(**more: bool) -> list[str]:
        return [f"{p.message} {p.remedy}" for p in check_online(mapping, {"sf": catalogue(MASTER, OFFERS, **more)})]
    assert problems() == []
    assert any(f'The account may not write "{MASTER}"' in p for p in problems(writable=False))
    other = check_online(mapping, {"sf": catalogue(MASTER, "CommSubscriptionConsent.Weekly_Offer")})
    assert any(f'sf.Contact has no field "{OFFERS}"' in p.message and OFFERS[:-1] in p.remedy for p in other)


def test_a_mapping_says_the_same_however_it_is_laid_out() -> None:
    assert good(PEOPLE + TOPIC).fingerprint != good(PEOPLE.replace("Marketing", "Other") + TOPIC).fingerprint
    assert "comm_subscription" in single(PEOPLE + TOPIC.replace("sf: {comm_subscription: Weekly_Offers,", "sf: {"))


def test_person_accounts_point_to_their_individual_by_a_field_of_their_own() -> None:
    mapping = good((PEOPLE + TOPIC).replace("sf.Contact", "sf.Account"))
    assert {f.needs for f in mapping.consent_fields if f.stream == "sf.Account"} == {None, "PersonIndividualId"}
