"""What the sandbox's organisations agree on: topics and how each vendor holds them, audiences, custom fields, accounts.

The sample mappings (``samples/*.yaml``) name the same things in the product's words; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.sim.world import names

MAIN, SECOND = 12_345, 67_890
"""Business units of Marketing Cloud."""

SALESFORCE_CLIENT = "sandbox-client"
MC_CLIENT = "mc-client"
ODOO_DATABASE, ODOO_USER, ODOO_USER_ID = "odoo", "sync@example.test", 8

_CHECKED = ("Contact", "Lead")


@dataclass(frozen=True, slots=True)
class Topic:
    """``odoo`` and ``publication`` are list ids; ``unit`` the business unit that mails it."""

    id: str
    odoo: int
    publication: int
    unit: int
    salesforce: Mapping[str, Any]


TOPICS = (
    Topic("offers", 1, 4_711, MAIN, {"field": "Offers_Opt_In__c", "method": "Opt_In_Source__c",
                                    "said_at": "Opt_In_Date__c"}),
    Topic("news", 2, 4_712, MAIN, {"field": "News_Status__c", "true": "Subscribed", "false": "Unsubscribed",
                                  "method": "News_Source__c", "said_at": "News_Date__c"}),
    Topic("tips", 3, 4_713, MAIN, {"field": "Tips_Opt_Out__c", "true": False, "false": True}),
    Topic("academy", 4, 4_714, MAIN, {"field": "Academy_Status__c", "true": "Confirmed", "false": "Declined",
                                     "method": "Academy_Source__c", "said_at": "Academy_Date__c"}),
    Topic("reminders", 5, 4_801, SECOND, {"field": "Reminders__c", "true": "Yes", "false": "No"}),
)

_FIELDS: dict[str, Any] = {
    "Legacy_Id__c": {"type": "string", "length": 20, "external_id": True},
    "Persona__c": {"type": "multipicklist", "length": 255, "values": list(names.PERSONAS)},
    "Tips_Opt_Out__c": "boolean",
    "Academy_Status__c": {"type": "picklist", "values": ["Requested", "Confirmed", "Declined"], "restricted": True},
}
_TRACKED = ("HasOptedOutOfEmail", "Email", "Offers_Opt_In__c", "News_Status__c", "Tips_Opt_Out__c")

_TEXT = {"FirstName": ("Text", 80), "Country": ("Text", 80), "Company": ("Text", 255), "Personas": ("Text", 500),
         "Spent": ("Decimal", 18), "LastOrder": ("Date", None), "Lifecycle": ("Text", 20)}


@dataclass(frozen=True, slots=True)
class Audience:
    """One data extension; with ``made`` the sandbox has it from the beginning, else syncd is to create it."""

    name: str
    key: str
    topic: str
    fields: tuple[str, ...]
    made: bool = True

    @property
    def unit(self) -> int:
        return next(t.unit for t in TOPICS if t.id == self.topic)

    @property
    def definition(self) -> dict[str, Any]:
        """The row of Marketing Cloud's table DataExtension."""
        own = [{"Name": name, "FieldType": _TEXT[name][0], "MaxLength": _TEXT[name][1],
                "Scale": 2 if _TEXT[name][0] == "Decimal" else None} for name in self.fields]
        fixed: list[dict[str, Any]] = [
            {"Name": "SubscriberKey", "FieldType": "Text", "MaxLength": 100, "IsRequired": True, "IsPrimaryKey": True},
            {"Name": "EmailAddress", "FieldType": "EmailAddress", "MaxLength": 254, "IsRequired": True}]
        return {"Client.ID": self.unit, "CustomerKey": self.key, "Name": self.key, "Fields": fixed + own,
                "SendableDataExtensionField": "SubscriberKey", "SendableSubscriberField": "Subscriber Key"}


AUDIENCES = (
    Audience("offers", "OFFERS_ALL", "offers", ("FirstName", "Country", "Spent")),
    Audience("news", "NEWS_ALL", "news", ("FirstName", "Country", "Company")),
    Audience("tips", "TIPS_ALL", "tips", ("FirstName", "Country", "Personas")),
    Audience("academy", "ACADEMY_ALL", "academy", ("FirstName", "Personas")),
    Audience("reminders", "REMINDERS_ALL", "reminders", ("FirstName",)),
    Audience("spent_over_100_2020", "OFFERS_100", "offers", ("FirstName", "Spent")),
    Audience("top_100_customers", "OFFERS_TOP_100", "offers", ("FirstName", "Spent")),
    Audience("campaign_responders", "OFFERS_RESPONDERS", "offers", ("FirstName",)),
    Audience("country_germany", "TIPS_DE", "tips", ("FirstName",)),
    Audience("buyers", "TIPS_BUYERS", "tips", ("FirstName", "Personas"), made=False),
    Audience("customers", "TIPS_CUSTOMERS", "tips", ("FirstName", "Lifecycle")),
    Audience("recent_customers", "TIPS_RECENT", "tips", ("FirstName", "LastOrder")),
    Audience("industry_technology", "NEWS_TECH", "news", ("FirstName", "Company")),
    Audience("newcomers", "NEWS_NEWCOMERS", "news", ("FirstName",)),
    Audience("reminders_customers", "REMINDERS_CUSTOMERS", "reminders", ("FirstName",), made=False),
)


def salesforce_options() -> dict[str, Any]:
    """Options of the Salesforce simulator, without secrets."""
    topics = {t.id: {o: dict(t.salesforce) for o in _CHECKED} for t in TOPICS}
    custom = {o: dict(_FIELDS) for o in _CHECKED}
    held = {name for t in TOPICS for key in ("field", "method", "said_at") if (name := t.salesforce.get(key))}
    return {"client_id": SALESFORCE_CLIENT, "person_accounts": True, "multi_currency": True, "connect": True,
            "custom_fields": custom, "tracked": {o: list(_TRACKED) for o in _CHECKED}, "topics": topics,
            "lead_conversion": {name: name for name in sorted(held | set(_FIELDS))}}


def odoo_topics() -> dict[str, int]:
    return {t.id: t.odoo for t in TOPICS}


def marketing_cloud_options() -> dict[str, Any]:
    """Options of the Marketing Cloud simulator, without secrets."""
    return {
        "business_units": {MAIN: {"name": "Main", "behavior": "ENTIRE_ENTERPRISE"},
                           SECOND: {"name": "Second", "behavior": "BUSINESS_UNIT_ONLY"}},
        "eid": MAIN, "topics": {t.id: {t.unit: t.publication} for t in TOPICS},
        "audiences": {a.name: {"de": a.key, "topic": a.topic, "bu": a.unit} for a in AUDIENCES},
    }
