"""Offline: do the names fit together? Online: do the vendors' objects fit the names?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mappings.checks import attribute_order, check_online
from mappings.fields import record_fields
from mappings.problems import MappingProblems
from syncd.model import Catalogue, FieldInfo, ObjectInfo
from tests.unit.mapping_lab import CONNECTIONS, PEOPLE, SKETCH, good, problems_of, single

TOPIC = "topics: {offers: {name: Offers, opt_in: none}}\n"


def destination(topics: str = "offers: {publication_list: 1}", segments: str = "", more: str = "") -> str:
    return f"destinations: {{mc: {{connection: mc, topics: {{{topics}}}, segments: {{{segments}}}, {more}}}}}\n"


# --------------------------------------------------------------------------- offline

@pytest.mark.parametrize(("rest", "problem"), [
    ("segments: {s: {topic: ofers, where: city = 'x'}}", 'There is no topic "ofers". Did you mean "offers"?'),
    ("segments: {s: {topic: offers, where: town = 'x'}}", '"town" is not known here.'),
    ("segments: {s: {topic: offers, where: \"'abc'\"}}", "'abc' is text, but true or false is needed here."),
    ("segments: {s: {topic: offers, order_by: cit desc, limit: 3}}", '"cit" is not known here. Did you mean "city"?'),
    ("campaigns: {c: {topics: ofers, sends: x}}", 'There is no topic "ofers".'),
    ("campaigns: {c: {segments: s, sends: x}}", 'There is no segment "s".'),
    ("attributes: {city: {type: text, value: first_name}}", '"city" is already an attribute of the sources.'),
    ("attributes: {end: {type: text, value: first_name}}", '"end" is a word of the expression language.'),
    ("attributes: {a: {type: integer, value: \"'x'\"}}", "'x' is text, but a whole number is needed here."),
    ("attributes: {a: {type: text, value: b}, b: {type: text, value: a}}", "These attributes read each other:"),
    ("related: {email: {stream: sf.Order, join: {ContactId: id}, attributes: {a: A}}}",
     '"email" is also an attribute.'),
    ("related: {o: {stream: odoo.sale.order, of: sf.Contact, join: {partner_id: id}, attributes: {a: amount}}}",
     "odoo.sale.order and sf.Contact are not of one connection."),
    (destination("ofers: {publication_list: 1}"), 'There is no topic "ofers".'),
    (destination(more="subscriber_key: {value: crm}"), 'There is no attribute "crm". Did you mean "crm_id"?'),
    (destination("offers: {publication_list: 1, audience: {data_extension: {key: A}}, fields: {Name: frist_name}}"),
     'There is no attribute "frist_name". Did you mean "first_name"?'),
    (destination().replace("connection: mc", "connection: sf"), '"sf" is salesforce: it cannot be a destination.'),
    (destination().replace("connection: mc", "connection: mcc"), 'There is no connection "mcc". Did you mean "mc"?'),
])
def test_a_name_that_leads_nowhere(rest: str, problem: str) -> None:
    assert problem in single(PEOPLE + TOPIC + rest)


def test_sources_need_known_crm_connections() -> None:
    people = PEOPLE.replace("sf.Contact", "mc.Contact")
    assert "it cannot be a source of people" in single(people)
    assert 'There is no connection "ozoo". Did you mean "odoo"?' in single(PEOPLE.replace("sf.", "ozoo."))


def test_a_mistyped_attribute_of_one_source_is_told_where_nothing_uses_it() -> None:
    """Two CRMs name each attribute once each: the one that says "first_nme" would leave its people without a first name."""
    typo = SKETCH.replace('first_name: "first_word(name)"', 'first_nme: "first_word(name)"')
    assert problems_of(typo) == ['m1.yaml:8:108: warning: Nothing uses "first_nme", and odoo.res.partner gives no'
                                 ' "first_name". Did you mean "first_name"?']
    assert problems_of(typo.replace("closed) = 2020", "closed) = 2020 and first_nme is null")) == []
    assert problems_of(SKETCH.replace('first_name: "first_word(name)"', 'town: City, first_name: "first_word(name)"')) == []


def test_people_need_an_address_and_mapped_identities() -> None:
    people = PEOPLE.replace("  sources", "  identity: [crm_id, emial]\n  sources")
    assert 'No source maps the identity "emial". Did you mean "email"?' in single(people)
    found = problems_of(PEOPLE.replace("email: Email, ", ""))
    assert any("No source says where the address is." in problem for problem in found)


def test_a_lead_becomes_a_known_source() -> None:
    lead = "    sf.Lead: {becomes: sf.Kontact, attributes: {email: Email}}\n"
    assert 'There is no source "sf.Kontact". Did you mean "sf.Contact"?' in single(PEOPLE + lead)


def test_a_segment_needs_its_topic_at_the_destination() -> None:
    text = PEOPLE + """
topics: {offers: {name: Offers, opt_in: none}, news: {name: News, opt_in: none}}
segments: {some: {topic: news, where: city = 'x'}}
""" + destination(segments="some: {data_extension: {key: SOME}}")
    assert 'Its topic "news" is not at this destination' in single(text)


@pytest.mark.parametrize("rows", ["exclusive", "shared"])
def test_a_data_extension_belongs_to_one_audience(rows: str) -> None:
    """Even shared: what leaves one audience would take the other's row with it. Keys do not tell cases apart."""
    text = PEOPLE + TOPIC + f"""
segments: {{some: {{topic: offers, where: city = 'x'}}}}
destinations:
  one:
    connection: mc
    topics: {{offers: {{publication_list: 2, audience: {{data_extension: {{key: ALL, rows: {rows}}}}}}}}}
  two:
    connection: mc
    topics: {{offers: {{publication_list: 1}}}}
    segments: {{some: {{data_extension: {{key: all}}}}}}
"""
    assert 'The data extension all of "mc" is already used by "offers" of "one".' in single(text)


def test_how_recipients_leave_a_topic_is_looked_at() -> None:
    nowhere = single(PEOPLE + TOPIC + destination("offers: {audience: {data_extension: {key: A}}}"))
    assert 'warning: "offers" has an audience here and no publication list' in nowhere
    name = single(PEOPLE + TOPIC + destination("offers: {publication_list: All Subscribers}"))
    assert '"All Subscribers" is not the number of a publication list.' in name


def test_a_publication_list_belongs_to_one_topic() -> None:
    text = PEOPLE + "topics: {a: {name: A, opt_in: none}, b: {name: B, opt_in: none}}\n"
    found = single(text + destination("a: {publication_list: 5}, b: {publication_list: 5}"))
    assert 'The list 5 of "mc" is already used by the topic "a".' in found


def test_personas_need_their_attribute() -> None:
    text = PEOPLE.replace(", personas: Persona__c", "") + "topics: {o: {name: O, opt_in: none, personas: [buyer]}}\n"
    assert 'no source maps the attribute "personas"' in single(text)


def test_former_ids_are_carried_on_by_one_topic() -> None:
    text = PEOPLE + """
topics:
  a: {name: A, opt_in: none, was: [old, b]}
  b: {name: B, opt_in: none, was: [old]}
"""
    assert [problem.split(" ", 1)[1].split(".")[0] for problem in problems_of(text)] == [
        'The former id "b" belongs to another topic', 'The former id "old" belongs to another topic']


@pytest.mark.parametrize(("classification", "purpose", "warned"), [
    ("transactional", "marketing", True), ("transactional", "transactional", False), ("commercial", "marketing", False)])
def test_a_campaign_that_sends_marketing_as_transactional_is_a_warning(classification: str, purpose: str,
                                                                        warned: bool) -> None:
    text = SKETCH.replace("classification: commercial", f"classification: {classification}").replace(
        "    purpose: marketing", f"    purpose: {purpose}")
    found = [p for p in problems_of(text) if "sends the marketing topic" in p]
    assert len(found) == warned
    assert all("warning:" in p and "thanks" not in p and '"offers"' in p for p in found)


def test_a_topic_nobody_can_ask_for_is_a_warning() -> None:
    found = single(PEOPLE + "topics: {o: {name: O, opt_in: required}}\n")
    assert found.startswith("m1.yaml:5:10: warning: Nothing in a CRM says who asked")


@pytest.mark.parametrize(("consent", "problem"), [
    ("sf.Lead: {field: F, values: {a: opt_in}}", 'There is no source "sf.Lead".'),
    ("sff: {mailing_list: 3}", 'There is no connection "sff".'),
    ("sf: {mailing_list: 3}", "it cannot be asked for lists"),
    ("sf.Contact: {field: F, values: {a: opt_in}, person_made: method = 'web'}", '"method" has no field.'),
    ("sf.Contact: {field: F, values: {a: opt_in}, person_made: said_at}", '"said_at" has no field.'),
])
def test_consent_that_leads_nowhere(consent: str, problem: str) -> None:
    assert problem in single(PEOPLE + f"topics: {{o: {{name: O, opt_in: required, consent: {{{consent}}}}}}}\n")


def test_offline_types_are_checked_as_far_as_they_are_known() -> None:
    """Money and computed attributes have a type without asking the vendor; fields do not."""
    assert problems_of(PEOPLE + TOPIC + "segments: {s: {topic: offers, where: city > 5 and city like 'a%'}}") == []
    money = PEOPLE.replace("city: MailingCity", "worth: {field: Worth__c, currency: EUR}")
    assert "money, but text is needed" in single(money + "attributes: {a: {type: text, value: worth}}")


def test_places_of_faults_in_expressions() -> None:
    text = PEOPLE + TOPIC + "segments:\n  s: {topic: offers, where: \"city = 'a' or town = 'b'\"}\n"
    assert single(text) == ("m1.yaml:7:44: \"town\" is not known here. A text is written in single quotes, 'town'. "
                            "Known here: city, crm_id, email, first_name, personas.")
    line = text.splitlines()[6]
    assert line[43:].startswith("town")


def test_attributes_come_after_those_they_read() -> None:
    mapping = good(PEOPLE + "attributes: {c: {type: text, value: b}, b: {type: text, value: a}, "
                   "a: {type: text, value: city}}")
    assert attribute_order(mapping) == ("a", "b", "c")
    with pytest.raises(MappingProblems, match=r"read each other: a -> a\.|read each other: .*a"):
        attribute_order(good(PEOPLE + "attributes: {a: {type: text, value: a}}"))


# --------------------------------------------------------------------------- fields

def test_every_field_the_mapping_needs() -> None:
    assert record_fields(good(SKETCH)) == {
        "sf.Contact": ("Account.Name", "Email", "FirstName", "Offers_Opt_In__c", "Opt_In_Date__c", "Opt_In_Source__c",
                       "Persona__c"),
        "sf.Lead": ("Email", "FirstName", "IsConverted"),
        "odoo.res.partner": ("email", "is_company", "name", "type"),
        "sf.Opportunity": ("Amount", "CloseDate", "CurrencyIsoCode", "StageName"),
        "sf.OpportunityContactRole": ("ContactId", "OpportunityId"),
    }


def test_fields_of_joins_master_flags_and_person_made() -> None:
    text = PEOPLE + """
related: {calls: {stream: sf.Task, join: {WhoId: id}, attributes: {subject: Subject}}}
topics:
  o:
    name: O
    opt_in: required
    consent: {sf.Contact: {field: F, values: {a: opt_in}, method: How, person_made: "method = 'web' and Kind = 'x'"}}
"""
    fields = record_fields(good(text.replace("sf.Contact: {attributes", "sf.Contact: {master: NoMail, attributes", 1)))
    assert fields["sf.Task"] == ("Subject", "WhoId")
    assert {"NoMail", "F", "How", "Kind"} <= set(fields["sf.Contact"])
    assert "method" not in fields["sf.Contact"]


# --------------------------------------------------------------------------- online

def text(name: str, *, nullable: bool = True, primary_key: bool = False, length: int | None = None) -> FieldInfo:
    return FieldInfo(name, "text", nullable=nullable, primary_key=primary_key, length=length)


def contact(**changes: FieldInfo | None) -> ObjectInfo:
    fields = {f.name: f for f in (
        FieldInfo("Email", "text", length=80), FieldInfo("FirstName", "text", length=40),
        FieldInfo("Account.Name", "text", writable=False, length=255),
        FieldInfo("Persona__c", "choices", choices=("buyer",)),
        FieldInfo("Offers_Opt_In__c", "bool"), FieldInfo("Opt_In_Date__c", "instant"),
        FieldInfo("Opt_In_Source__c", "text", choices=("web",)))}
    return ObjectInfo("Contact", fields=tuple(f for f in (fields | changes).values() if f is not None),
                      master_flag="HasOptedOutOfEmail")


def salesforce(changed: ObjectInfo | None = None) -> Catalogue:
    objects = [changed or contact(),
               ObjectInfo("Lead", fields=(text("Email"), text("FirstName"), FieldInfo("IsConverted", "bool"))),
               ObjectInfo("Opportunity", fields=(FieldInfo("Amount", "decimal"), text("CurrencyIsoCode"),
                                                 FieldInfo("CloseDate", "date"), text("StageName"))),
               ObjectInfo("OpportunityContactRole", fields=(FieldInfo("OpportunityId", "id"),
                                                            FieldInfo("ContactId", "id")))]
    return Catalogue({info.name: info for info in objects})


def odoo() -> Catalogue:
    partner = ObjectInfo("res.partner", fields=(text("email"), text("name"), text("type"),
                                                FieldInfo("is_company", "bool")))
    return Catalogue({"res.partner": partner, "list:7": ObjectInfo("list:7", "Newsletter")})


def extension(key: str = "OFFERS_ALL", *more: FieldInfo, **properties: str | bool | None) -> ObjectInfo:
    fields = (FieldInfo("subscriberkey", "text", length=50, nullable=False, primary_key=True),
              FieldInfo("EmailAddress", "text", length=254), FieldInfo("FirstName", "text", length=60), *more)
    return ObjectInfo(f"de:{key}", fields=fields, properties={"sendable": True, "retention": None, **properties})


def marketing_cloud(*extensions: ObjectInfo) -> Catalogue:
    objects = [ObjectInfo("list:4711", "Offers"), *(extensions or (extension(),))]
    return Catalogue({info.name: info for info in objects})


def test_a_topic_of_another_unit_is_refused_at_a_destination() -> None:
    limited = SKETCH.replace("purpose: marketing", "purpose: marketing\n    unit: shop", 1)
    assert "limited to the unit \"shop\", and this destination is not of it" in str(problems_of(limited))
    assert 'unit "shop"' not in str(problems_of(limited.replace("    connection: mc", "    connection: mc\n    unit: shop")))


def online(sf: Catalogue | None = None, mc: Catalogue | None = None, mapping: str = SKETCH) -> list[str]:
    catalogues = {"sf": sf or salesforce(), "odoo": odoo(), "mc": mc or marketing_cloud()}
    return [f"{problem.level}: {problem.message} {problem.remedy}" for problem in
            check_online(good(mapping), catalogues)]


def test_a_fitting_world_has_no_problems() -> None:
    assert online() == []
    assert check_online(good(SKETCH), {}) == []
    assert set(CONNECTIONS) == {"sf", "odoo", "mc"}


@pytest.mark.parametrize(("changes", "problem"), [
    ({"FirstName": None}, 'sf.Contact has no field "FirstName" that the account may read. Did you mean "firstname"?'),
    ({"Account.Name": None}, 'sf.Contact has no field "Account.Name"'),
    ({"Offers_Opt_In__c": FieldInfo("Offers_Opt_In__c", "bool", writable=False)}, 'The account may not write "Offers'),
    ({"Offers_Opt_In__c": FieldInfo("Offers_Opt_In__c", "text")}, '"Offers_Opt_In__c" is text. Say what its val'),
    ({"Offers_Opt_In__c": FieldInfo("Offers_Opt_In__c", "choices")}, 'is choices: it cannot hold consent. Several values'),
    ({"Offers_Opt_In__c": FieldInfo("Offers_Opt_In__c", "integer")}, 'is integer: it cannot hold consent.'),
    ({"Offers_Opt_In__c": FieldInfo("Offers_Opt_In__c", "bool", computed=True)}, '"Offers_Opt_In__c" is computed:'),
    ({"Opt_In_Date__c": FieldInfo("Opt_In_Date__c", "text")}, '"Opt_In_Date__c" is text: it cannot say when.'),
    ({"Opt_In_Source__c": FieldInfo("Opt_In_Source__c", "bool")}, '"Opt_In_Source__c" is bool: it cannot say how.'),
])
def test_contact_fields_that_do_not_fit(changes: dict[str, FieldInfo | None], problem: str) -> None:
    if changes.get("FirstName", 1) is None:
        changes = {**changes, "firstname": text("firstname")}
    assert any(problem in found for found in online(salesforce(contact(**changes))))


def test_fields_in_expressions_have_their_exact_place() -> None:
    lead = ObjectInfo("Lead", fields=(text("Email"), text("FirstName")))
    catalogue = Catalogue({**salesforce().objects, "Lead": lead})
    problem, = check_online(good(SKETCH), {"sf": catalogue})
    assert problem.message == '"IsConverted" is not known here.'
    assert SKETCH.splitlines()[problem.line - 1][problem.column - 1:].startswith("IsConverted")


def test_types_become_known_online() -> None:
    found = online(mapping=SKETCH.replace("spent_2020 > 100", "first_name > 100"))
    assert found == ["error: 100 is a whole number, but text is needed here. "]


def test_personas_must_be_among_the_choices() -> None:
    rule = SKETCH.replace("personas: [buyer]", "where: \"has(personas, 'byer')\"")
    assert online(mapping=rule) == ["error: 'byer' is not one of the choices. Did you mean \"buyer\"?"]
    named = SKETCH.replace("personas: [buyer]", "personas: [byer]")
    assert online(mapping=named) == ['error: "byer" is not a persona. Did you mean "buyer"?']
    plain = salesforce(contact(Persona__c=text("Persona__c")))
    assert online(plain) == ['error: Personas are a multiple choice, and "personas" is text. '
                             "Map it to a field that holds several values."]


def test_sources_must_agree_about_a_type() -> None:
    lead = ObjectInfo("Lead", fields=(text("Email"), FieldInfo("FirstName", "integer"),
                                      FieldInfo("IsConverted", "bool")))
    found = online(Catalogue({**salesforce().objects, "Lead": lead}))
    assert found == ['error: "first_name" is integer here and text in another source. Map fields of one type.']


def test_missing_objects_and_lists() -> None:
    sf = Catalogue({name: info for name, info in salesforce().objects.items() if name != "Opportunity"})
    assert any('"sf" has no object "Opportunity"' in found for found in online(sf))
    mc = Catalogue({"list:9": ObjectInfo("list:9"), "de:OFFERS_ALL": extension()})
    assert online(mc=mc) == ['error: "mc" has no list 4711. Known here: 9.']


@pytest.mark.parametrize(("info", "problem"), [
    (extension("OFFERS_ALLE"), 'error: "mc" has no data extension "OFFERS_ALL". Did you mean "OFFERS_ALLE"?'),
    (extension(sendable=False), 'error: The data extension "OFFERS_ALL" is not sendable.'),
    (extension(retention="6 months"), "deletes its rows by a retention policy"),
    (extension("OFFERS_ALL", text("Region", nullable=False)), 'The field "Region" is required and nothing fills'),
    (extension("OFFERS_ALL", text("Second", primary_key=True)), "has the primary key subscriberkey + Second, not"),
    (replace(extension(), fields=extension().fields[:1]), 'has no field "EmailAddress" for the address.'),
    (replace(extension(), fields=(*extension().fields[:2], FieldInfo("FirstName", "integer"))),
     '"first_name" is text, and the field "FirstName" holds integer.'),
    (replace(extension(), fields=(*extension().fields[:2], text("FirstName", length=20))),
     'warning: "first_name" may have 40 characters, the field "FirstName" takes 20.'),
    (replace(extension(), fields=extension().fields[:2]), 'The data extension has no field "FirstName".'),
])
def test_data_extensions_that_do_not_fit(info: ObjectInfo, problem: str) -> None:
    assert any(problem in found for found in online(mc=marketing_cloud(info)))


def test_consent_values_must_exist() -> None:
    changed = SKETCH.replace('"true": opt_in, "false": unknown', "values: {Subscribd: opt_in, Unsubscribed: opt_out}")
    field = FieldInfo("Offers_Opt_In__c", "text", choices=("Subscribed", "Unsubscribed"))
    found = online(salesforce(contact(Offers_Opt_In__c=field)), mapping=changed)
    assert found == ['error: "Subscribd" is not a value of "Offers_Opt_In__c". Did you mean "Subscribed"?']


def test_a_list_that_holds_consent_belongs_to_one_topic() -> None:
    both = PEOPLE + """
topics:
  a: {name: A, opt_in: none, consent: {odoo: {mailing_list: 7}}}
  b: {name: B, opt_in: none, consent: {odoo: {mailing_list: 7}}}
"""
    assert 'The list 7 of "odoo" is already that of the topic "a".' in single(both)
    held = PEOPLE + """
topics: {a: {name: A, opt_in: none}, b: {name: B, opt_in: none, consent: {mc: {publication_list: 5}}}}
"""
    found = single(held + destination("a: {publication_list: 5}"))
    assert 'The list 5 of "mc" is already that of the topic "a".' in found
    assert problems_of(held + destination("b: {publication_list: 5}")) == []


@pytest.mark.parametrize(("more", "what"), [
    ("unit: shop", "unit"), ("subscriber_key: {value: email}", "subscriber_key"),
    ("unknown_subscriber: create_unsubscribed", "unknown_subscriber")])
def test_two_destinations_at_one_connection_agree_on_what_is_the_connections(more: str, what: str) -> None:
    text = PEOPLE + TOPIC + f"""
destinations:
  one: {{connection: mc, topics: {{offers: {{publication_list: 1}}}}}}
  two: {{connection: mc, {more}}}
"""
    assert f'"one" delivers to "mc" with another {what}.' in single(text)
