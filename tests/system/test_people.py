"""Who is who, over whole cycles: duplicates, merges, moved and shared addresses, deletions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from state import people
from state.ledger import NewEntry, Utterance
from syncd.config import Secret
from syncd.desk import grants
from tests.system.lab import DAY, HOUR, NEWS, OFFERS, SHARED, Lab, couple, separate

# --------------------------------------------------------------------------- deletion, merge

def test_a_deleted_contact_leaves_and_a_new_one_with_the_address_inherits_the_opt_out(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L2")
    lab.cycle()
    lab.world.act("sf", "delete", object="Contact", id=lab.ids["p1"])
    lab.cycle()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}
    lab.contact("again", email="P1@mail.example ", no_news=0)
    lab.settle()
    assert "p1" not in {a.lower() for a in lab.send(NEWS)}
    assert lab.flags("again")["no_news"] == 1


def test_a_deletion_that_leaves_no_trace_is_found_by_the_daily_listing(tmp_path: Path) -> None:
    with Lab(tmp_path, crm={"deletes_visible": False}) as lab:
        lab.contacts(3)
        lab.link()
        lab.world.act("sf", "delete", object="Contact", id=lab.ids["p1"])
        lab.cycle()
        assert "p1" in lab.keys(NEWS)
        lab.advance(DAY)
        lab.cycle()
        assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}


def test_a_tombstone_without_values_is_no_opt_out(lab: Lab) -> None:
    """Nor is it a statement each time it is read again."""
    lab.contacts(2)
    lab.link()
    entries = lab.entries()
    lab.world.act("sf", "edit", object="Contact", id=lab.ids["p1"], set={"offers": None, "opted_out": None})
    lab.world.act("sf", "delete", object="Contact", id=lab.ids["p1"])
    lab.cycle()
    assert lab.entries() == entries
    lab.world.act("sf", "undelete", object="Contact", id=lab.ids["p1"])
    lab.edit("p1", offers=1, opted_out=0)
    lab.settle()
    assert "p1" in lab.keys(OFFERS)


def test_an_opt_out_made_just_before_the_deletion_is_kept(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.edit("p1", opted_out=1)
    lab.world.act("sf", "delete", object="Contact", id=lab.ids["p1"])
    lab.cycle()
    entries = lab.entries()
    lab.world.act("sf", "delete", object="Contact", id=lab.ids["p1"])
    lab.cycle()
    assert lab.entries() == entries
    lab.contact("again", email="p1@mail.example")
    lab.settle()
    assert lab.keys(NEWS) == {"p0"}
    assert lab.flags("again")["opted_out"] == 1


def zoe_refuses(lab: Lab) -> None:
    """All mail, an hour after the link; eva does not."""
    for name in ("eva", "zoe"):
        lab.contact(name)
    lab.link()
    lab.advance(HOUR)
    lab.unsubscribe("zoe")
    lab.settle()


def test_who_comes_back_as_her_record_is_unmerged_is_back(lab: Lab) -> None:
    """Both are read at once. The box that syncd ticked tells of no other refusal than the one she takes back."""
    zoe_refuses(lab)
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["eva"], into=lab.ids["zoe"])
    lab.settle()
    assert lab.keys(OFFERS) == set()
    lab.advance(HOUR)
    lab.web_opt_in("zoe")
    lab.world.act("sf", "undelete", object="Contact", id=lab.ids["eva"])
    lab.settle()
    assert lab.keys(OFFERS) == {"eva", "zoe"}
    assert lab.keys(NEWS) == {"eva"}


def test_who_came_back_before_another_refused_for_both_takes_that_along(lab: Lab) -> None:
    """Her own refusal of long ago is no witness of what the box says by now, which her earlier word does not take back."""
    zoe_refuses(lab)
    lab.advance(HOUR)
    lab.web_opt_in("zoe")
    lab.settle()
    assert lab.keys(OFFERS) == {"eva", "zoe"}
    lab.edit("eva", email="zoe@mail.example", first_name="Zoe")
    lab.settle()
    lab.edit("eva", opted_out=1)
    lab.settle()
    assert lab.flags("zoe")["opted_out"] == 1
    lab.edit("eva", email="eva@mail.example")
    lab.settle()
    assert lab.keys(OFFERS) == set()


def test_who_came_back_by_another_record_of_hers_takes_along_what_was_refused_since(lab: Lab) -> None:
    """Her own refusal of long ago was answered on the other record; the form that is read with the parting is older than
    what was refused there since."""
    zoe_refuses(lab)
    lab.edit("eva", email="zoe@mail.example", first_name="Zoe")
    lab.settle()
    lab.advance(HOUR)
    config: Any = SimpleNamespace(hash_key=Secret(lab.policy.hash_key.decode()))
    for topic in (None, "offers"):
        grants.grant(lab.app.store, lab.app.mapping, config, "zoe@mail.example", topic=topic, evidence="a letter",
                     by="an admin", crm_id=lab.ids["eva"], now=lab.now())
    lab.settle()
    assert lab.keys(OFFERS) != set()
    lab.advance(2 * HOUR)
    form = lab.now() - int(HOUR * 1e6)
    lab.edit("eva", opted_out=1)
    lab.settle()
    assert (lab.keys(OFFERS), lab.flags("zoe")["opted_out"]) == (set(), 1)
    lab.world.act("sf", "edit", object="Contact", id=lab.ids["zoe"], by="person",
                  set={"offers": 1, "offers_at": form, "offers_how": "web", "email": "new@mail.example"})
    lab.settle()
    assert lab.keys(OFFERS) == set()


def test_a_merge_with_an_opted_out_loser_opts_the_winner_out(lab: Lab) -> None:
    lab.contacts(4)
    lab.link()
    lab.unsubscribe("p1")
    lab.cycle()
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["p1"], into=lab.ids["p2"])
    lab.settle()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p3"}
    assert lab.flags("p2")["opted_out"] == 1
    assert lab.status("p2") == "unsubscribed"
    lab.world.act("sf", "undelete", object="Contact", id=lab.ids["p1"])
    lab.settle()
    assert lab.status("p2") == "unsubscribed", "the flag that was written to the winner is there and stands"


def test_who_comes_and_is_merged_between_two_polls_brings_her_refusal_though_somebody_comes_with_her_address(
        tmp_path: Path) -> None:
    """Whoever else has the address makes her person dirty; that she is another's is to be found out all the same."""
    with Lab(tmp_path, separate()) as lab:
        lab.contact("ann")
        lab.contact("eva")
        lab.link()
        loser = lab.contact("eva2", email=SHARED, no_news=1)
        lab.contact("tom", email=SHARED)
        lab.world.act("sf", "merge", object="Contact", id=loser, into=lab.ids["eva"])
        lab.settle()
        assert lab.flags("eva")["no_news"] == 1
        assert lab.send(NEWS) == {"ann"}


def test_an_unmerge_gives_each_her_own_history_back(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    lab.world.fault("outage", connection="sf", verb="apply", count=None)
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["p1"], into=lab.ids["p2"])
    lab.cycle()
    assert lab.keys(OFFERS) == {"p0"}
    lab.world.act("sf", "undelete", object="Contact", id=lab.ids["p1"])
    lab.cycle()
    assert lab.keys(OFFERS) == {"p0", "p2"}
    assert lab.keys(NEWS) == {"p0", "p1", "p2"}


@pytest.mark.parametrize("joined", ["merged", "moved"])
def test_what_somebody_knew_ends_at_a_refusal_of_whom_she_was_not_one_with_yet(lab: Lab, joined: str) -> None:
    """Bob left and came back at the provider before Ann's box was ticked, and that was read later than the box."""
    lab.contact("ann", first_name="Ann")
    lab.contact("bob", first_name="Ann")
    lab.link()
    lab.unsubscribe("bob", "L2")
    lab.advance(1)
    lab.world.act("mc", "resubscribe", email="bob@mail.example", list="L2")
    lab.advance(1)
    lab.edit("ann", no_news=1)
    lab.world.fault("outage", connection="mc", count=None)
    lab.cycle()
    lab.world.clear_faults()
    lab.cycle()
    assert lab.keys(NEWS) == {"bob"}
    if joined == "merged":
        lab.world.act("sf", "merge", object="Contact", id=lab.ids["bob"], into=lab.ids["ann"])
    else:
        lab.edit("bob", email="ann@mail.example")
    lab.settle()
    assert lab.send(NEWS) == set()
    lab.advance(HOUR)
    lab.world.act("mc", "resubscribe", email="ann@mail.example", list="L2")
    lab.settle()
    assert lab.send(NEWS) != set(), "who comes back later comes back from everything"


# --------------------------------------------------------------------------- addresses

def test_an_opted_out_person_who_moves_is_blocked_at_both_addresses(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L2")
    lab.cycle()
    lab.edit("p1", email="new@mail.example")
    lab.settle()
    lab.contact("heir", email="p1@mail.example")
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2"}
    assert lab.flags("heir")["no_news"] == 0, "the address is blocked, but it was not the heir who refused"


def test_a_changed_address_moves_the_row_and_nothing_else(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.edit("p1", email="new@mail.example")
    lab.settle()
    assert lab.row(OFFERS, "p1")["email"] == "new@mail.example"  # type: ignore[index]  # the row is there
    assert lab.keys(OFFERS) == {"p0", "p1", "p2"}


def test_two_people_swap_addresses_and_keep_their_own_wishes(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    lab.edit("p1", email="p2@mail.example")
    lab.edit("p2", email="p1@mail.example")
    lab.settle()
    assert (lab.flags("p1")["offers"], lab.flags("p2")["offers"]) == (0, 1)
    assert lab.send(OFFERS) == {"p0"}, "the refused mailbox stays quiet though another person reads it now"
    assert lab.keys(NEWS) == {"p0", "p1", "p2"}


@pytest.mark.parametrize("address", ["", "not an address", "two@at@mail.example", "a b@mail.example"])
def test_who_has_no_usable_address_is_listed_and_comes_in_once_it_is_repaired(lab: Lab, address: str) -> None:
    lab.contacts(2)
    lab.contact("odd", email=address)
    lab.link()
    assert lab.keys(NEWS) == {"p0", "p1"}
    query = "SELECT reason, key, closed_at IS NULL FROM quarantine"
    assert lab.rows(query) == ([("invalid_address", lab.ids["odd"], 1)] if address else [])
    lab.edit("odd", email="odd@mail.example")
    lab.cycle()
    assert lab.keys(NEWS) == {"p0", "p1", "odd"}
    assert all(not is_open for _, _, is_open in lab.rows(query))


def test_an_address_that_bounced_too_often_is_left_out_until_it_works_again(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    for _ in range(3):
        lab.world.act("mc", "bounce", email="p1@mail.example")
    lab.settle()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}
    assert lab.flags("p1")["opted_out"] == 0
    lab.world.act("mc", "open", email="p1@mail.example")
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p1", "p2"}


# --------------------------------------------------------------------------- shared addresses

def test_one_address_is_one_person_with_one_row(lab: Lab) -> None:
    couple(lab, first_name="Eva")
    lab.link()
    assert lab.keys(NEWS) == {"eva", "ann"}
    lab.edit("tom", opted_out=1)
    lab.settle()
    assert lab.keys(NEWS) == {"ann"}
    assert lab.flags("eva")["opted_out"] == 1


def test_one_address_with_two_names_is_nobody_until_somebody_decides(lab: Lab) -> None:
    couple(lab)
    lab.link()
    assert lab.keys(NEWS) == {"ann"}
    assert lab.rows("SELECT reason FROM ambiguous") == [("different_names",)]
    lab.edit("tom", email="tom@mail.example")
    lab.settle()
    assert lab.keys(NEWS) == {"ann", "eva", "tom"}
    assert lab.rows("SELECT * FROM ambiguous") == []


@pytest.mark.parametrize(("key", "bound", "states"), [
    pytest.param(None, None, {"opt_in"}, id="on the record"), pytest.param(None, 1, set(), id="under the address"),
    pytest.param("L1", None, set(), id="under a key"), pytest.param("L1", 1, set(), id="under a key nobody has"),
    pytest.param("L1", 2, set(), id="under a key whose address came later")])
def test_an_opt_in_under_a_doubtful_address_is_not_the_refusing_ones(
        lab: Lab, key: str | None, bound: int | None, states: set[str]) -> None:
    """The record it is bound to may be the one that happened to come first."""
    couple(lab, no_news=1)
    lab.link()
    [(record, person, address)] = lab.rows("SELECT id, person, address FROM record WHERE rid = ?", lab.ids["tom"])
    said = Utterance(None, "form", "web", 1, 0, '[["topic","news","opt_in"]]')
    lab.advance(HOUR)

    def speak(conn: Any) -> None:
        position = lab.app.store.book.append(conn, [NewEntry(said, record, address, lab.now(), lab.now(), key)], lab.now())
        conn.execute("UPDATE entry SET bound = ? WHERE position = ?", (bound, position))
    lab.app.store.write(speak)
    with lab.app.store.reading() as conn:
        case = people.case(conn, person, address)
    assert {s.state for s in case.statements if s.source == "form"} == states


def test_too_many_records_of_one_address_are_nobody(lab: Lab) -> None:
    for n in range(6):
        lab.contact(f"eva{n}", first_name="Eva", email=SHARED)
    lab.link()
    assert lab.keys(NEWS) == set()
    assert lab.rows("SELECT reason FROM ambiguous") == [("too_many_records",)]


def test_excluded_shared_addresses_are_listed(tmp_path: Path) -> None:
    with Lab(tmp_path, separate("exclude")) as lab:
        couple(lab, first_name="Eva")
        lab.link()
        assert lab.keys(NEWS) == {"ann"}
        assert lab.rows("SELECT reason FROM ambiguous") == [("shared_address",)]


def test_separate_people_at_one_address_have_a_row_each_and_one_refusal_silences_both(tmp_path: Path) -> None:
    with Lab(tmp_path, separate()) as lab:
        couple(lab)
        lab.link()
        assert lab.keys(NEWS) == {"ann", "eva", "tom"}
        lab.edit("tom", no_news=1)
        lab.settle()
        assert lab.keys(NEWS) == {"ann"}
        assert lab.flags("eva")["no_news"] == 0
        assert lab.keys(OFFERS) == {"ann", "eva", "tom"}


def test_an_address_only_refusal_silences_whoever_holds_it_and_speaks_for_nobody(tmp_path: Path) -> None:
    with Lab(tmp_path, separate()) as lab:
        couple(lab)
        lab.link()
        lab.world.act("mc", "unsubscribe", email=SHARED, keyed=False)
        lab.settle()
        assert lab.keys(NEWS) == lab.keys(OFFERS) == {"ann"}
        assert (lab.flags("eva")["opted_out"], lab.flags("tom")["opted_out"]) == (0, 0)


def test_an_address_only_refusal_binds_the_one_person_who_held_it(tmp_path: Path) -> None:
    with Lab(tmp_path, separate()) as lab:
        couple(lab)
        lab.link()
        lab.world.act("mc", "unsubscribe", email="ann@mail.example", keyed=False)
        lab.settle()
        assert lab.flags("ann")["opted_out"] == 1
        lab.edit("ann", email="new@mail.example")
        lab.settle()
        assert lab.keys(NEWS) == {"eva", "tom"}


def test_the_journal_names_nobody(tmp_path: Path) -> None:
    with Lab(tmp_path, separate()) as lab:
        couple(lab)
        lab.world.act("mc", "import", list="L1", members={"eva@mail.example": "eva@mail.example"}, status="unsubscribed")
        lab.link()
        lab.world.act("mc", "unsubscribe", email="ann@mail.example", keyed=False)
        lab.settle()
        assert lab.entries() > 4
        assert b"mail.example" not in (tmp_path / "journal.log").read_bytes()
