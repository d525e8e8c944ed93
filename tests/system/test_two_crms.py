"""People who are in two CRMs: what one says reaches the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors.memory.client import fields
from state import addresses
from state.ledger import NewEntry, Utterance
from syncd import normalise
from tests.system.lab import HOUR, MAPPING, NEWS, OFFERS, SHARED, Lab, couple, separate

SECOND = """    odoo.Partner: {attributes: {email: email, first_name: name}}
"""


def with_odoo(lab: Lab) -> None:
    lab.world.create_crm("odoo", {"Partner": {"fields": fields("email", "name", out="bool"), "master_flag": "out"}},
                         blacklist=True)
    lab.roles["odoo"] = "crm"


def test_what_is_said_in_one_crm_reaches_the_other_and_the_provider(tmp_path: Path) -> None:
    text = MAPPING.replace("topics:", SECOND + "topics:", 1)
    with Lab(tmp_path, text, build=with_odoo) as lab:
        lab.contacts(3)
        [one, two] = lab.world.load("odoo", "Partner", [
            {"email": "p1@mail.example", "name": "P1", "out": 0}, {"email": "only@mail.example", "name": "Only", "out": 0}])
        lab.link()
        assert lab.keys(NEWS) == {"p0", "p1", "p2", two}
        lab.unsubscribe("p1")
        lab.settle()
        partners = {p["id"]: p["fields"]["out"] for p in lab.world.truth()["odoo"]["people"]}
        assert partners == {one: 1, two: 0}
        status = {s["email"]: s["status"] for s in lab.world.truth()["odoo"]["subscribers"]}
        assert status["p1@mail.example"] == "unsubscribed"
        lab.world.act("odoo", "unsubscribe", email="only@mail.example")
        lab.settle()
        assert lab.keys(NEWS) == {"p0", "p2"}


def test_the_first_source_that_knows_a_fact_gives_it(tmp_path: Path) -> None:
    text = MAPPING.replace("topics:", SECOND + "topics:", 1)
    with Lab(tmp_path, text, build=with_odoo) as lab:
        lab.contact("ann", first_name=None)
        lab.world.load("odoo", "Partner", [{"email": "ann@mail.example", "name": "Anne", "out": 0}])
        lab.link()
        assert lab.row(NEWS, "ann")["first_name"] == "Anne"  # type: ignore[index]  # the row is there
        lab.edit("ann", first_name="Ann")
        lab.settle()
        assert lab.row(NEWS, "ann")["first_name"] == "Ann"  # type: ignore[index]



def test_the_freshest_of_several_records_gives_the_facts_and_our_own_writes_do_not_freshen(lab: Lab) -> None:
    lab.contact("ann", first_name="Ann", spent="150.00", email=SHARED)
    lab.advance(1)
    lab.contact("annie", first_name="Ann", spent="250.00", email=SHARED)
    lab.link()
    spent = '"spent"'
    assert lab.rows(f"SELECT {spent} FROM attr") == [(2_500_000,)]
    lab.advance(1)
    lab.edit("annie", offers=0)
    lab.settle()
    assert lab.flags("ann")["offers"] == 0, "our write is the newest change of this record"
    lab.edit("annie", last_name="Doe")
    lab.cycle()
    assert lab.rows(f"SELECT {spent} FROM attr") == [(2_500_000,)]
    lab.advance(1)
    lab.edit("ann", spent="160.00")
    lab.cycle()
    assert lab.rows(f"SELECT {spent} FROM attr") == [(1_600_000,)]


def test_whoever_was_silenced_by_a_neighbours_refusal_is_mailed_again_when_the_neighbour_comes_back(tmp_path: Path) -> None:
    with Lab(tmp_path, separate()) as lab:
        couple(lab)
        lab.link()
        lab.web_opt_in("eva")
        lab.settle()
        assert lab.send(OFFERS) == {"ann", "team"}
        lab.unsubscribe("tom", "L1")
        lab.settle()
        assert lab.send(OFFERS) == {"ann"}
        lab.advance(HOUR)
        lab.web_opt_in("tom")
        lab.settle()
        assert lab.keys(OFFERS) == {"ann", "eva", "tom"}
        assert [lab.status(name, "L1") for name in ("eva", "tom")] == ["subscribed", "subscribed"]


def test_a_refusal_that_was_retracted_frees_those_whom_nobody_else_bars(lab: Lab) -> None:
    """A mass update that was a mistake: what we wrote to the provider because of it is taken back."""
    lab.contacts(3)
    lab.link()
    lab.edit("p1", no_news=1)
    lab.edit("p2", no_news=1)
    lab.settle()
    lab.unsubscribe("p2", "L2")
    lab.settle()
    [(position,)] = lab.rows("SELECT max(e.position) FROM entry e JOIN utterance u ON u.id = e.utterance"
                             " WHERE u.source = 'sf.Contact' AND e.record = 2 AND e.said_lo IS NOT NULL")
    [(other,)] = lab.rows("SELECT max(e.position) FROM entry e JOIN utterance u ON u.id = e.utterance"
                          " WHERE u.source = 'sf.Contact' AND e.record = 3 AND e.said_lo IS NOT NULL")
    retraction = Utterance(None, "admin", "retract", 1, 0, '[["topic","news","opt_in"]]')

    def retract(conn: Any) -> None:
        entries = [NewEntry(retraction, record, None, lab.now(), lab.now(), retracts=found)
                   for record, found in ((2, position), (3, other))]
        lab.app.store.book.append(conn, entries, lab.now())
        conn.execute("INSERT OR IGNORE INTO dirty VALUES (2), (3)")
    for name in ("p1", "p2"):
        lab.edit(name, no_news=0)
    lab.cycle()
    lab.app.store.write(retract)
    lab.settle()
    assert lab.status("p1", "L2") == "subscribed"
    assert lab.send(NEWS) == {"p0", "p1"}
    assert lab.status("p2", "L2") == "unsubscribed"


# --------------------------------------------------------------------------- flags beside the own

def test_a_flag_of_a_parent_stops_all_mail_and_is_left_as_it_is(tmp_path: Path) -> None:
    """A privacy record that a contact points to: what it says counts everywhere, and nothing is written to it."""
    second = SECOND.replace("{attributes:", "{also_stops: Individual.Solicit, attributes:")

    def build(lab: Lab) -> None:
        flags = {"out": "bool", "Individual.Solicit": "bool"}
        lab.world.create_crm("odoo", {"Partner": {"fields": fields("email", "name", **flags), "master_flag": "out"}},
                             blacklist=True)
        lab.roles["odoo"] = "crm"
    with Lab(tmp_path, MAPPING.replace("topics:", second + "topics:", 1), build=build) as lab:
        lab.contacts(2)
        [one] = lab.world.load("odoo", "Partner", [
            {"email": "p1@mail.example", "name": "P1", "out": 0, "Individual.Solicit": 0}])
        lab.link()
        lab.world.act("odoo", "edit", object="Partner", id=one, set={"Individual.Solicit": 1})
        lab.settle()
        assert lab.send(NEWS) == {"p0"}
        assert (lab.flags("p1")["opted_out"], lab.status("p1")) == (1, "unsubscribed")
        for value in (1, 0):  # taking it back there is no opt-in
            lab.world.act("odoo", "edit", object="Partner", id=one, set={"Individual.Solicit": value})
            lab.settle()
            [partner] = lab.world.truth()["odoo"]["people"]
            assert (partner["fields"]["out"], partner["fields"]["Individual.Solicit"]) == (1, value)
            assert lab.send(NEWS) == {"p0"}


def test_records_that_two_crms_count_alike_keep_their_own_words_after_a_restore(tmp_path: Path) -> None:
    """A state made of the journal names records by their ids until they are read."""
    text = MAPPING.replace("topics:", SECOND + "topics:", 1)
    with Lab(tmp_path, text, build=with_odoo) as lab:
        lab.contact("ann")
        lab.link()

        def speak(conn: Any) -> None:
            bob = addresses.known(conn, normalise.hasher(lab.policy.hash_key)("bob@mail.example"))
            for source, state, address in (("sf.Contact", "opt_out", None), ("odoo.Partner", "opt_out", None),
                                           ("admin", "opt_in", bob), ("admin", "opt_in", None)):
                said = Utterance(None, source, "grant", 1, 0, f'[["master",null,"{state}"]]')
                lab.app.store.book.append(conn, [NewEntry(said, None, address, lab.now(), lab.now(), "7")], lab.now())
        lab.app.store.write(speak)
        lab.world.load("odoo", "Partner", [{"id": "7", "email": "bob@mail.example", "name": "Bob", "out": 0}])
        lab.world.load("sf", "Contact", [{"id": "7", "email": "eva@mail.example", "first_name": "Eva"}])
        lab.cycle()
        assert lab.rows("SELECT u.source, s.object FROM entry e JOIN utterance u ON u.id = e.utterance"
                        " LEFT JOIN record r ON r.id = e.record LEFT JOIN stream s ON s.id = r.stream"
                        " WHERE u.method = 'grant' ORDER BY e.position") == [
            ("sf.Contact", "Contact"), ("odoo.Partner", "Partner"), ("admin", "Partner"), ("admin", None)]
