"""A mapping that does not fit what the connections hold: opt-outs travel where it does, everything else waits, and is done
once it fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import ConnectorError
from connectors.memory.client import fields
from mappings.problems import MappingProblems
from syncd.model import FieldType
from syncd.runs import Report
from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, RICH, Lab, done
from tests.unit.cli_lab import Lab as Commands
from tests.unit.cli_lab import lab as commands

MISFIT = MAPPING.replace("spent: spent, ", "spent: spent, years: years, ").replace("spent > 100", "years > 60")
"""A rule over a field that the CRM does not have: it is no number."""

STRANGE = MAPPING.replace("topics:", "    sf.Strange: {attributes: {email: email}}\ntopics:", 1)
"""A source that is not there."""


RULE = MAPPING.replace("opt_in: none", "opt_in: none\n    where: \"first_name > 3\"")
"""A topic with a rule that means nothing."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Four people who get everything; p9, who came after the link, is to get news."""
    with Lab(tmp_path) as found:
        found.contacts(4, spent="500.00")
        found.link()
        found.contact("p9", spent="500.00")
        yield found


def serve(lab: Lab) -> Report:
    """A cycle as the service makes them; as if it had begun a while ago."""
    lab.advance(HOUR)
    return lab.cycle(whole=False)


@pytest.mark.parametrize(("text", "what"), [
    (MISFIT, {"sf.Contact", "mapping"}),
    (RULE, {"mapping"}),
    (MAPPING.replace("method in (", "offers_at in ("), {"sf.Contact"}),
    (MAPPING.replace("first_name: first_name, last_name: last_name, spent", "first_name: \"upper(spent)\", spent"),
     {"sf.Contact"}),
    (STRANGE, {"sf.Strange"})])
def test_opt_outs_travel_and_the_rest_waits(lab: Lab, text: str, what: set[str]) -> None:
    lab.reopen(text)
    lab.unsubscribe("p0")
    lab.unsubscribe("p1", "L1")
    report = serve(lab)
    assert report.pulled.failed.keys() == what
    assert (lab.flags("p0")["opted_out"], lab.flags("p1")["offers"]) == (1, 0)
    assert lab.keys(OFFERS) == lab.keys(RICH) == {"p2", "p3"}
    assert lab.keys(NEWS) == {"p1", "p2", "p3"}
    assert done(serve(lab)) == 0
    lab.reopen(MAPPING)
    lab.cycle()
    lab.settle()
    assert lab.holds() == ()
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p2", "p3"}, {"p1", "p2", "p3", "p9"})
    assert lab.rows("SELECT count(*) FROM put_off") == [(0,)]


def test_what_a_user_says_in_the_crm_travels_too(lab: Lab) -> None:
    """No person made it, so it might be part of a burst: that is judged now, and not when the mapping fits again."""
    lab.reopen(RULE)
    lab.edit("p0", opted_out=1)
    lab.edit("p1", no_news=1)
    serve(lab)
    assert (lab.status("p0"), lab.status("p1"), lab.status("p1", "L2")) == ("unsubscribed", "subscribed", "unsubscribed")
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p1", "p2", "p3"}, {"p2", "p3"})


def test_a_burst_is_held_and_what_people_say_is_not(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        lab.contacts(60)
        lab.link()
        lab.reopen(RULE)
        lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"no_news": 1})
        lab.unsubscribe("p1", "L1")
        serve(lab)
        assert lab.keys(NEWS) == set()
        assert lab.hold("burst").operations == 60
        assert {lab.status(f"p{n}", "L2") for n in range(60)} == {"subscribed"}
        assert (lab.flags("p1")["offers"], lab.flags("p2")["offers"]) == (0, 1)
        lab.decide("burst", "approved")
        serve(lab)
        assert {lab.status(f"p{n}", "L2") for n in range(60)} == {"unsubscribed"}


def test_whoever_becomes_part_of_somebody_who_refused_loses_the_row(lab: Lab) -> None:
    lab.edit("p0", no_news=1)
    lab.settle()
    lab.reopen(STRANGE)
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["p1"], into=lab.ids["p0"])
    serve(lab)
    assert (lab.keys(NEWS), lab.keys(OFFERS)) == ({"p2", "p3", "p9"}, {"p0", "p1", "p2", "p3"})


def test_a_row_at_an_address_that_nobody_has_goes(lab: Lab) -> None:
    lab.world.act("mc", "write_rows", audience=NEWS, rows={"x": {"email": "x@elsewhere.example"}})
    lab.world.send("mc", NEWS)
    lab.advance(2 * DAY)
    lab.settle()
    assert "x" in lab.keys(NEWS)
    lab.reopen(STRANGE)
    lab.world.act("mc", "unsubscribe", email="x@elsewhere.example", list="L2", key="x")
    serve(lab)
    assert "x" not in lab.keys(NEWS)


def test_the_express_way_makes_nothing_of_half_a_mapping(lab: Lab) -> None:
    lab.reopen(MAPPING.replace("first_name: first_name, last_name: last_name, spent",
                               "first_name: \"upper(spent)\", spent"))
    serve(lab)
    lab.unsubscribe("p0", "L1")
    cycle = lab.app.cycle(whole=False)
    cycle.puller.run(cycle.feeds, lab.now())
    [(person,)] = lab.rows("SELECT person FROM record WHERE rid = ?", lab.ids["p0"])
    assert cycle.decider.suppress([person], lab.now(), cycle.leave, whole=not cycle.unfit) > 0
    assert lab.rows("SELECT first_name FROM attr WHERE person = ?", person) == [("P0",)]


def test_who_was_looked_at_is_not_looked_at_again_before_there_is_news(lab: Lab) -> None:
    lab.reopen(MISFIT)
    assert serve(lab).people == 0, "the mapping does not count yet, so nothing is new about anybody"
    lab.unsubscribe("p0")
    assert serve(lab).people == 1
    assert serve(lab).people <= 1, "what was sent has come to its end"
    assert serve(lab).people == 0


def test_nobody_is_let_in_by_what_was_queued_before(lab: Lab) -> None:
    lab.world.fault("outage", connection="mc", verb="apply", count=None)
    lab.cycle(wait=False)
    lab.world.clear_faults()
    lab.reopen(MISFIT)
    serve(lab)
    assert "p9" not in lab.keys(NEWS)


def test_a_value_that_came_before_the_field_does_is_kept(lab: Lab) -> None:
    """What was read before goes on being true, and nothing is blanked."""
    lab.reopen(MAPPING.replace("spent: spent, ", "spent: spent, years: years, "))  # fits, but cannot be read
    lab.unsubscribe("p0")
    report = serve(lab)
    assert report.pulled.failed.keys() == {"sf.Contact"}
    assert lab.flags("p0")["opted_out"] == 1
    row = lab.row(OFFERS, "p2")
    assert row is not None
    assert row["first_name"] == "P2"


def test_a_plan_wants_a_mapping_that_fits(lab: Lab) -> None:
    lab.reopen(MISFIT)
    with pytest.raises(MappingProblems, match="60 is a whole number"):
        lab.cycle()


def test_a_connection_that_was_never_described_holds_up_nobody_else(lab: Lab) -> None:
    """It is away when syncd starts after an upgrade: what it described was told to another release."""
    lab.app.store.write(lambda conn: conn.execute("DELETE FROM catalogue").rowcount)
    lab.reopen()
    lab.world.fault("outage", connection="sf", count=None)
    lab.unsubscribe("p0", "L2")
    lab.world.act("mc", "import", list="L2", members={"stranger": "p1@mail.example"}, status="unsubscribed")
    report = serve(lab)
    assert {"sf", "sf.Contact"} <= report.pulled.failed.keys()
    assert lab.keys(NEWS) == {"p2", "p3"}
    lab.world.clear_faults()
    lab.settle()
    assert (lab.flags("p0")["no_news"], lab.flags("p1")["no_news"]) == (1, 1)
    assert lab.keys(NEWS) == {"p2", "p3", "p9"}
    with pytest.raises(ConnectorError):
        raise report.pulled.failed["sf"]


def test_nothing_is_written_before_a_first_approved_plan(tmp_path: Path) -> None:
    with Lab(tmp_path, STRANGE) as lab:
        lab.contacts(2)
        lab.contact("no", opted_out=1)
        assert lab.cycle(whole=False).plan is None
        assert lab.rows("SELECT count(*) FROM operation") == [(0,)]
        assert lab.rows("SELECT count(*) FROM subscriber_key") == [(0,)]
        assert lab.rows("SELECT count(*) FROM dirty")[0][0] == 3, "they are decided once all is read"


# --------------------------------------------------------------------------- commands

@pytest.fixture
def linked() -> Iterator[Commands]:
    with commands() as made:
        made.ask("once", "--approve")
        yield made


def opted_out(made: Commands) -> list[Any]:
    return [p["id"] for p in made.world.truth()["sf"]["people"] if p["fields"]["opted_out"]]


def test_once_carries_opt_outs_and_says_what_does_not_fit(linked: Commands) -> None:
    known = (linked.directory / "mapping.yaml").read_text()
    row = linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"][0]
    linked.world.send("mc", NEWS)
    linked.ask("once")
    linked.write(mapping=known.replace("spent: spent", "spent: spent, years: years").replace("spent > 100", "years > 60"))
    linked.world.act("mc", "unsubscribe", email=row["email"])
    data = linked.ask("once", exit=2)
    assert "mapping.yaml:18:41: 60 is a whole number" in data["failed"]["mapping"]["message"]
    assert "syncd check --online" in data["failed"]["mapping"]["message"]
    assert opted_out(linked) == [row["key"]]
    assert "60 is a whole number" in linked.ask("plan", exit=2)["error"]["message"]


@pytest.mark.parametrize(("kind", "values", "problem"), [
    ("choices", "values: {Offers: opt_out}", "is choices: it cannot hold consent"),
    ("integer", 'values: {"1": opt_out}', "is integer: it cannot hold consent"),
    ("text", '"true": opt_out, "false": unknown', 'is text. Say what its values under "values" mean'),
    ("bool", "values: {Yes: opt_out}", 'is bool. Say what "true" and "false" mean')])
def test_a_consent_field_whose_values_would_mean_nothing_is_refused(tmp_path: Path, kind: FieldType, values: str,
                                                                    problem: str) -> None:
    """Every refusal in it would have been passed over."""
    text = MAPPING.replace('sf.Contact: {field: no_news, "true": opt_out, "false": unknown, holds: opt_out_only}',
                           f"sf.Contact: {{field: odd, {values}}}")
    with Lab(tmp_path, text, more=fields(odd=kind)) as lab, pytest.raises(MappingProblems, match=problem):
        lab.cycle()


@pytest.mark.parametrize(("old", "new"), [
    ("field: no_news,", "field: made_up,"), ("    sf.Contact:\n", "    sf.Contact:\n      also_stops: [made_up]\n")])
def test_a_computed_consent_field_is_refused(tmp_path: Path, old: str, new: str) -> None:
    """Its record does not change when it does."""
    with Lab(tmp_path, MAPPING.replace(old, new, 1), more=fields(made_up={"type": "bool", "computed": True})) as lab, \
            pytest.raises(MappingProblems, match='"made_up" is computed'):
        lab.cycle()


def test_a_date_that_is_text_is_refused(tmp_path: Path) -> None:
    text = MAPPING.replace("said_at: offers_at", "said_at: when")
    with Lab(tmp_path, text, more=fields("when")) as lab, pytest.raises(MappingProblems, match='"when" is text: it cannot'):
        lab.cycle()


def test_a_flag_for_all_mail_that_is_not_true_or_false_is_refused(tmp_path: Path) -> None:
    text = MAPPING.replace("    sf.Contact:\n", "    sf.Contact:\n      also_stops: [odd]\n", 1)
    with Lab(tmp_path, text, more=fields("odd")) as lab, pytest.raises(MappingProblems, match='flag "odd" is text'):
        lab.cycle()
