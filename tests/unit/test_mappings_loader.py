"""Reading mapping files: short forms spelled out, every problem at once, each with its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mappings.loader import load_mapping
from mappings.model import Expression
from mappings.problems import MappingProblems, Place, did_you_mean
from mappings.yamlfile import Unreadable, parse, read
from tests.unit.mapping_lab import PEOPLE, SKETCH, good, load, problems_of, single


def test_the_sketch_loads_as_it_is() -> None:
    mapping = good(SKETCH)
    assert problems_of(SKETCH) == []
    contact = mapping.people.sources["sf.Contact"]
    assert (contact.attributes["company"].field, contact.where) == ("Account.Name", None)
    partner = mapping.people.sources["odoo.res.partner"]
    assert partner.attributes["first_name"].expression is not None
    assert partner.attributes["first_name"].expression.text == "first_word(name)"
    orders = mapping.related["orders"]
    assert orders.via is not None
    assert (orders.via.row_field, orders.via.record_field, orders.of) == ("OpportunityId", "ContactId", "sf.Contact")
    assert orders.attributes["amount"].currency == "CurrencyIsoCode"
    consent = mapping.topics["offers"].fields["sf.Contact"]
    assert consent.values == {"true": "opt_in", "false": "unknown"}
    assert (consent.holds, consent.value_for("opt_in"), consent.value_for("opt_out")) == ("opt_in_only", "true", None)
    assert mapping.topics["offers"].lists["odoo"].container == "7"
    assert mapping.segments["top_100_customers"].expected_churn == pytest.approx(0.3)
    destination = mapping.destinations["mc"]
    assert destination.topics["offers"].publication_list == "4711"
    assert [(owner, audience.object, audience.rows) for owner, audience in destination.audiences] == [
        ("offers", "de:OFFERS_ALL", "shared"), ("spent_over_100_2020", "de:OFFERS_100", "exclusive")]
    assert mapping.campaigns["thanks_2020"].sends == ("Thanks 2020*",)
    assert mapping.person_attributes == ("company", "crm_id", "email", "first_name", "personas", "spent_2020")


def test_every_element_knows_its_place() -> None:
    mapping = good(SKETCH)
    lines = SKETCH.splitlines()
    lead = mapping.people.sources["sf.Lead"]
    assert lead.where is not None
    for place, text in [(lead.place, "sf.Lead"), (lead.where.place, "not IsConverted"),
                        (mapping.topics["offers"].place, "offers:"),
                        (mapping.segments["top_100_customers"].place, "top_100_customers"),
                        (mapping.destinations["mc"].topics["offers"].place, "offers"),
                        (mapping.attributes["spent_2020"].value.place, "sum(orders.amount)")]:
        assert lines[place.line - 1][place.column - 1:].startswith(text)


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    found = problems_of("""
        people:
          same_emial: one_person
          sources:
            sf.Contact: {attributes: {email: Email, Foo: X, price: {field: A, curency: B}, sum: {currency: B}}}
            sfContact: {attributes: {email: Email}}
            sf.Lead: {where: 5, attributes: 3}
        topics:
          offers: {name: "", opt_in: maybe}
        segments:
          some: {topic: offers, limit: -3, expected_churn: 30 percent}
        destinations: []
        """)
    assert found == [
        'm1.yaml:3:3: Unknown key "same_emial". Did you mean "same_email"?',
        'm1.yaml:5:45: "Foo": this is not spelled as it must be. Names are lower-case letters, digits and underscores, '
        "and begin with a letter.",
        'm1.yaml:5:71: Unknown key "curency". Did you mean "currency"?',
        'm1.yaml:5:84: The key "field" is missing. Add it.',
        'm1.yaml:6:5: "sfContact": this is not spelled as it must be. A stream is written connection.Object, such as '
        '"sf.Contact".',
        'm1.yaml:7:22: "where": this must be text.',
        'm1.yaml:7:37: "attributes": this must be a mapping (key: value).',
        'm1.yaml:9:18: "name": this must not be empty.',
        "m1.yaml:9:30: \"opt_in\": this must be 'none', 'required' or 'confirmed'.",
        'm1.yaml:11:32: "limit": this must be more than 0.',
        'm1.yaml:11:52: "expected_churn": A share is written as 30% or 0.3.',
        'm1.yaml:12:15: "destinations": this must be a mapping (key: value).',
    ]


@pytest.mark.parametrize(("text", "problem"), [
    ("a: 1\na: 2", 'm.yaml:2:1: The key "a" is written twice. Remove one of them.'),
    ('"true": 1\ntrue: 2', 'm.yaml:2:1: The key "true" is written twice. Remove one of them.'),
    ("a: !!python/object:os.system {}", "m.yaml:1:4: YAML tags are not supported. Remove the tag."),
    ("a: [1", "m.yaml:1:6: This is not YAML: expected ',' or ']', but got '<stream end>'."),
    ("a: 1\n---\nb: 2", "m.yaml:2:1: This is not YAML: but found another document."),
    ("a: &x [1]\n" + "".join(f"{'b' * n}: &{'x' * (n + 1)} [{', '.join(['*' + 'x' * n] * 9)}]\n" for n in range(1, 8)),
     "m.yaml: The file holds more than 20000 values. Split it, or use fewer aliases."),
])
def test_what_is_no_plain_yaml_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Unreadable) as refused:
        parse(text, "m.yaml")
    assert str(refused.value) == problem


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe4\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (1 << 20) + b"\n")
    for name, message in [("latin.yaml", "latin.yaml:2:1: The file is not UTF-8. Save it as UTF-8."),
                          ("large.yaml", "large.yaml: The file is larger than 1 MB. Split it into several files."),
                          ("none.yaml", "none.yaml: The file cannot be read: No such file or directory. Name one that is"
                                        " there, or let `syncd init` write a first one.")]:
        with pytest.raises(Unreadable) as refused:
            read(tmp_path / name, shown=name)
        assert str(refused.value) == message


def test_a_missing_and_a_broken_file_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(MappingProblems) as refused:
        load_mapping([tmp_path / "absent.yaml", tmp_path / "broken.yaml"])
    assert len(refused.value.problems) == 2


def test_several_files_are_one_mapping() -> None:
    mapping = good(PEOPLE, "topics: {offers: {name: Offers, opt_in: none}}")
    assert list(mapping.topics) == ["offers"]
    assert mapping.topics["offers"].place.file == "m2.yaml"


def test_a_name_is_defined_once_over_all_files() -> None:
    topic = "topics: {offers: {name: Offers, opt_in: none}}"
    assert single(PEOPLE + topic, topic) == (
        'm2.yaml:1:10: "offers" is already defined at m1.yaml:5:10. Keep one of them.')
    assert single("topics: {}") == 'm1.yaml: No mapping file says who the people are. Add the key "people".'


def test_the_fingerprint_follows_the_meaning() -> None:
    topics = "topics: {offers: {name: Offers, opt_in: none}, news: {name: News, opt_in: none}}"
    swapped = "topics:\n  # a comment\n  news: {opt_in: none, name: News}\n  offers: {name: Offers, opt_in: none}"
    changed = topics.replace("Offers", "All offers")
    base = good(PEOPLE, topics).fingerprint
    assert base == good(PEOPLE, swapped).fingerprint == good(PEOPLE + topics).fingerprint
    assert base != good(PEOPLE, changed).fingerprint


def test_the_order_of_consent_values_is_meaning() -> None:
    """The first value of a meaning is the one written back."""
    def mapping(values: str) -> str:
        return PEOPLE + f"""
topics:
  offers: {{name: Offers, opt_in: required, consent: {{sf.Contact: {{field: F, values: {{{values}}}}}}}}}
"""
    one, other = good(mapping("Yes: opt_in, Confirmed: opt_in")), good(mapping("Confirmed: opt_in, Yes: opt_in"))
    assert one.topics["offers"].fields["sf.Contact"].value_for("opt_in") == "Yes"
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(("consent", "problem"), [
    ('sf.Contact: {field: F, "true": opt_in, "false": opt_out}', 'An unticked checkbox cannot tell "never asked"'),
    ('sf.Contact: {"true": opt_in}', "The field that holds the consent is missing."),
    ("sf.Contact: {field: F}", "What the field's values mean is said twice or not at all."),
    ('sf.Contact: {field: F, "true": opt_in, values: {A: opt_in}}', "What the field's values mean is said twice"),
    ('sf.Contact: {field: F, "true": opt_in, mailing_list: 4}', "A stream's consent is in a field, not on a list."),
    ("odoo: {field: F}", '"odoo" is a connection, so its consent must be on a list.'),
])
def test_consent_that_says_too_little_or_too_much(consent: str, problem: str) -> None:
    assert problem in single(PEOPLE + f"topics: {{offers: {{name: O, opt_in: required, consent: {{{consent}}}}}}}")


@pytest.mark.parametrize(("values", "holds"), [
    ("A: opt_in", "opt_in_only"), ("A: opt_out, B: unknown", "opt_out_only"), ("A: opt_in, B: opt_out", "both"),
])
def test_what_a_field_holds_follows_from_its_values(values: str, holds: str) -> None:
    consent = f"sf.Contact: {{field: F, values: {{{values}}}}}"
    mapping = good(PEOPLE + f"topics: {{offers: {{name: O, opt_in: required, consent: {{{consent}}}}}}}")
    assert mapping.topics["offers"].fields["sf.Contact"].holds == holds


def test_a_checkbox_may_be_declared_to_mean_no() -> None:
    consent = 'sf.Contact: {field: F, true: opt_in, false: opt_out, holds: both}'
    mapping = good(PEOPLE + f"topics: {{offers: {{name: O, opt_in: required, consent: {{{consent}}}}}}}")
    assert mapping.topics["offers"].fields["sf.Contact"].values == {"true": "opt_in", "false": "opt_out"}


@pytest.mark.parametrize(("rest", "problem"), [
    ("segments: {s: {topic: t}}", 'The segment "s" chooses nobody in particular.'),
    ("segments: {s: {topic: t, where: a = 1, limit: 5}}", '"order_by" and "limit" belong together.'),
    ("related: {o: {stream: sf.X, attributes: {a: A}}}", 'The rows of "o" need one way to the person'),
    ("destinations: {d: {connection: mc, topics: {t: {}}}}", 'Nothing says where the topic "t" goes.'),
    ("destinations: {d: {connection: mc, topics: {t: {publication_list: 1, fields: {A: email}}}}}",
     "There is no audience to hold these fields."),
    ("destinations: {d: {connection: mc, segments: {s: {data_extension: {key: K}, fields: {subscriberkey: email}}}}}",
     '"subscriberkey" is filled by syncd itself.'),
])
def test_what_does_not_hold_together(rest: str, problem: str) -> None:
    _, problems = load(PEOPLE + rest)
    assert any(problem in str(found) for found in problems), problems


def test_whose_rows_they_are_must_be_clear() -> None:
    two = PEOPLE + "    sf.Lead: {attributes: {email: Email}}\n"
    rows = "related: {calls: {stream: sf.Task, join: {WhoId: id}, attributes: {subject: Subject}}}"
    assert 'It is not clear whose rows "calls" are.' in single(two + rows)
    assert good(two + rows.replace("join", "of: sf.Lead, join")).related["calls"].of == "sf.Lead"
    assert good(PEOPLE + rows).related["calls"].of == "sf.Contact"


def test_a_currency_code_is_told_from_a_field() -> None:
    attribute = "related: {o: {stream: sf.O, join: {C: id}, attributes: {a: {field: A, currency: %s}}}}"
    code, field = (good(PEOPLE + attribute % word).related["o"].attributes["a"] for word in ("EUR", "Currency__c"))
    assert (code.currency_code, code.currency) == ("EUR", None)
    assert (field.currency_code, field.currency) == (None, "Currency__c")


def test_an_expression_over_several_lines_has_a_line_but_no_column() -> None:
    mapping = good(PEOPLE + "attributes:\n  long:\n    type: bool\n    value: >-\n"
                   "      city = 'a'\n      or city = 'b'\n")
    value = mapping.attributes["long"].value
    assert value == Expression("city = 'a' or city = 'b'", Place("m1.yaml", 8, 0))
    assert str(value.place) == "m1.yaml:8"


def test_did_you_mean() -> None:
    assert did_you_mean("Emial", ["Email", "Phone"]) == 'Did you mean "Email"?'
    assert did_you_mean("zzz", ["b", "a"]) == "Known here: a, b."
    assert did_you_mean("zzz", []) == ""


def test_importing_mappings_is_cheap() -> None:
    """The parsers are heavy and a command that maps nothing must not wait for them."""
    code = ("import sys, mappings.loader, mappings.checks, mappings.expressions, mappings.schema, syncd\n"
            "sys.exit(any(name in sys.modules for name in ('sqlglot', 'pydantic', 'ruamel.yaml')))")
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
