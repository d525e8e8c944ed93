"""Small mappings for tests: a text becomes a Mapping or its problems."""

from __future__ import annotations

from collections.abc import Mapping as Map
from textwrap import dedent

import pytest

from mappings.checks import check_offline
from mappings.loader import build
from mappings.model import Mapping
from mappings.problems import Problem
from mappings.yamlfile import Unreadable, parse

CONNECTIONS = {"sf": "salesforce", "odoo": "odoo", "mc": "marketing_cloud"}

PEOPLE = """
people:
  sources:
    sf.Contact: {attributes: {email: Email, first_name: FirstName, city: MailingCity, personas: Persona__c}}
"""

SKETCH = """
people:
  identity: [crm_id, email]
  same_email: one_person
  sources:
    sf.Contact: {attributes: {email: Email, first_name: FirstName, company: Account.Name, personas: Persona__c}}
    sf.Lead:    {where: "not IsConverted", becomes: sf.Contact, attributes: {email: Email, first_name: FirstName}}
    odoo.res.partner: {where: "type = 'contact' and not is_company", attributes: {email: email, first_name: "first_word(name)"}}
related:
  orders: {stream: sf.Opportunity, via: sf.OpportunityContactRole, attributes: {amount: {field: Amount, currency: CurrencyIsoCode}, closed: CloseDate, stage: StageName}}
attributes:
  spent_2020: {type: money, origin: implicit, value: "sum(orders.amount) filter (where orders.stage = 'Closed Won' and year(orders.closed) = 2020)"}
topics:
  offers:
    name: Offers
    purpose: marketing
    opt_in: required
    consent:
      sf.Contact: {field: Offers_Opt_In__c, "true": opt_in, "false": unknown, said_at: Opt_In_Date__c, method: Opt_In_Source__c, person_made: "method in ('web', 'double opt-in')"}
      odoo: {mailing_list: 7}
    personas: [buyer]
    was: []
segments:
  spent_over_100_2020: {topic: offers, where: "spent_2020 > 100"}
  top_100_customers:   {topic: offers, order_by: "spent_2020 desc", limit: 100, expected_churn: 30%}
destinations:
  mc:
    connection: mc
    subscriber_key: {value: crm_id, existing: match_email}
    unknown_subscriber: skip
    topics:   {offers: {publication_list: 4711, audience: {data_extension: {key: OFFERS_ALL}}, fields: {FirstName: first_name}}}
    segments: {spent_over_100_2020: {data_extension: {key: OFFERS_100, primary_key: SubscriberKey, create: true, rows: exclusive}, fields: {FirstName: first_name, Spent: spent_2020}}}
campaigns:
  thanks_2020: {segments: [spent_over_100_2020], sends: ["Thanks 2020*"], classification: commercial}
"""  # noqa: E501 - the lines are laid out as admins write them


def load(*texts: str) -> tuple[Mapping | None, list[Problem]]:
    """The mapping of these files (m1.yaml, m2.yaml ...), or None and its problems."""
    problems: list[Problem] = []
    sources = []
    for number, text in enumerate(texts, 1):
        try:
            sources.append(parse(dedent(text), f"m{number}.yaml"))
        except Unreadable as error:
            problems.append(error.problem)
    return build(sources, problems), problems


def good(*texts: str) -> Mapping:
    mapping, problems = load(*texts)
    if mapping is None:
        pytest.fail("\n".join(map(str, problems)))
    return mapping


def problems_of(*texts: str, connections: Map[str, str] = CONNECTIONS) -> list[str]:
    """Every problem of reading and of the offline checks, as printed."""
    mapping, problems = load(*texts)
    found = problems if mapping is None else check_offline(mapping, connections)
    return [str(problem) for problem in sorted(found)]


def single(*texts: str) -> str:
    """The one problem there is."""
    found = problems_of(*texts)
    assert len(found) == 1, found
    return found[0]
