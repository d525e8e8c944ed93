"""What a side cannot hold is said, topic by topic."""

from __future__ import annotations

from syncd.sides import unheld
from tests.unit.mapping_lab import good

MAPPING = """
people:
  sources:
    sf.Contact: {attributes: {email: Email}}
    odoo.res.partner: {attributes: {email: email}}
topics:
  offers: {name: Offers, opt_in: none, consent: {sf.Contact: {field: Offers__c, "true": opt_in, "false": unknown}}}
  news: {name: News, opt_in: none, consent: {odoo: {mailing_list: 7}}}
destinations:
  mc:
    connection: mc
    topics:
      offers: {publication_list: 1}
      news: {audience: {data_extension: {key: NEWS}}}
"""


def test_each_connection_says_what_it_has_no_place_for() -> None:
    found = [(u.connection, u.message.split(":")[0]) for u in unheld(good(MAPPING))]
    assert found == [
        ("sf", 'It has no place for the topic "news"'), ("odoo", 'It has no place for the topic "offers"'),
        ("mc", 'It has no list for the topic "news"'), ("mc", "It holds a stop of all mail without exceptions")]
