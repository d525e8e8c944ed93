"""Twelve ways in which systems that do the same job have mailed people who had refused, one test each.

Each test does what the customers of those systems did, and then asks who is mailed and what the sides hold.
"""

from __future__ import annotations

from pathlib import Path

from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, Lab


def resubscribed(lab: Lab) -> int:
    """How often syncd subscribed a member who had opted out, since this was last asked."""
    return lab.world.counters("mc", reset=True)["resubscribed"]


def test_marketo_unticking_the_box_in_the_crm_re_subscribes(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1")
    lab.settle()
    lab.advance(DAY)
    lab.edit("p1", opted_out=0)
    lab.settle()
    assert lab.send(NEWS) == {"p0"}
    assert lab.flags("p1")["opted_out"] == 1
    assert lab.status("p1") == "unsubscribed"
    assert resubscribed(lab) == 0


def test_marketo_moving_the_record_to_a_subscribed_address_re_subscribes(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.world.act("mc", "import", list="L2", members={"web-77": "p1.private@mail.example"})
    lab.unsubscribe("p1")
    lab.settle()
    lab.edit("p1", email="p1.private@mail.example")
    lab.settle()
    assert lab.send(NEWS) == lab.send(OFFERS) == {"p0"}
    assert lab.status("web-77") == "unsubscribed", "the other subscriber of the same person"
    assert resubscribed(lab) == 0


def test_hubspot_a_changed_address_is_mailable_again(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L2")
    lab.settle()
    for address in ("p1.new@mail.example", "p1.newer@mail.example", "p1@mail.example"):
        lab.edit("p1", email=address)
        lab.settle()
        assert lab.send(NEWS) == {"p0"}
        assert lab.status("p1", "L2") == "unsubscribed"


def test_pardot_the_value_of_the_crm_overwrites_a_fresh_unsubscribe_minutes_later(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1")
    lab.unsubscribe("p1", "L1")
    lab.advance(180)
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"opted_out": 0, "offers": 1, "no_news": 0})
    lab.settle()
    assert lab.send(NEWS) == lab.send(OFFERS) == {"p0"}
    assert (lab.flags("p1")["opted_out"], lab.flags("p1")["offers"]) == (1, 0)
    assert resubscribed(lab) == 0


def test_pardot_a_permanently_deleted_prospect_who_returns_has_lost_the_opt_out(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1")
    lab.settle()
    lab.world.act("sf", "delete", object="Contact", id=lab.ids["p1"])
    lab.world.act("mc", "delete_subscribers", keys=[lab.ids["p1"]])
    lab.advance(DAY)
    lab.settle()
    lab.contact("back", email="P1@Mail.example", first_name="P1")
    lab.settle()
    assert lab.send(NEWS) == lab.send(OFFERS) == {"p0"}
    assert lab.flags("back")["opted_out"] == 1


def test_hubspot_opt_outs_outside_the_inclusion_list_are_not_synced(tmp_path: Path) -> None:
    text = MAPPING.replace("sf.Contact:\n      attr", "sf.Contact:\n      where: spent > 5\n      attr")
    assert text != MAPPING
    with Lab(tmp_path, text) as lab:
        lab.contacts(3)
        lab.link()
        for name in ("p1", "p2"):
            lab.edit(name, spent="1.00")
        lab.settle()
        assert lab.keys(NEWS) == {"p0"}, "the others are not on the inclusion list any more"
        lab.edit("p1", opted_out=1)
        lab.unsubscribe("p2")
        lab.settle()
        assert lab.status("p1") == "unsubscribed"
        assert lab.flags("p2")["opted_out"] == 1


def test_connect_an_opt_out_in_the_crm_never_reaches_the_provider(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.edit("p1", opted_out=1)
    lab.edit("p2", no_news=1)
    lab.settle()
    assert (lab.status("p1"), lab.status("p2"), lab.status("p2", "L2")) == (
        "unsubscribed", "subscribed", "unsubscribed")
    assert lab.send(NEWS) == {"p0"}
    assert lab.send(OFFERS) == {"p0", "p2"}


def test_connect_leaving_one_list_sets_the_single_box_in_the_crm_for_all(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.settle()
    assert (lab.flags("p1")["offers"], lab.flags("p1")["opted_out"]) == (0, 0)
    assert lab.status("p1") == "subscribed"
    assert lab.send(NEWS) == {"p0", "p1"}


def test_mautic_records_that_are_created_opted_out_are_missed(lab: Lab) -> None:
    lab.contacts(1)
    lab.link()
    lab.world.act("mc", "import", list="L2", members={"old-1": "out@mail.example"})
    lab.contact("out", opted_out=1)
    lab.contact("fine")
    lab.settle()
    assert lab.send(NEWS) == {"p0", "fine"}
    assert lab.status("old-1") == "unsubscribed"


def test_mailchimp_a_resync_re_subscribes_thousands(lab: Lab) -> None:
    """Everything is read, compared and decided again, twice: nothing at all is written."""
    names = lab.contacts(60)
    lab.link()
    for name in names[:20]:
        lab.unsubscribe(name)
    for name in names[20:40]:
        lab.unsubscribe(name, "L2")
    lab.settle()
    lab.written()
    for _ in range(2):
        lab.app.store.write(lambda conn: conn.execute("UPDATE stream SET cursor = NULL, full_at = NULL").rowcount)
        lab.app.store.write(lambda conn: conn.execute("INSERT OR IGNORE INTO dirty SELECT person FROM record").rowcount)
        lab.cycle(full=True)
        assert lab.written() == {"sf": 0, "mc": 0}
    assert lab.send(NEWS) == set(names[40:])
    assert resubscribed(lab) == 0


def test_grouparoo_a_changed_address_is_written_with_the_status_subscribed(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"unknown": "create"}) as lab:
        lab.contacts(2)
        lab.link()
        lab.unsubscribe("p1")
        lab.settle()
        resubscribed(lab)
        lab.edit("p1", email="p1.new@mail.example")
        lab.settle()
        found = {s["email"]: s["status"] for s in lab.world.truth()["mc"]["subscribers"]}
        assert all(status == "unsubscribed" for email, status in found.items() if email.startswith("p1"))
        assert resubscribed(lab) == 0
        assert lab.send(NEWS) == {"p0"}


def test_all_of_them_merges_never_fold_consent(lab: Lab) -> None:
    """Whichever of the two records the refusal was on, and whatever the user chose to keep."""
    lab.contacts(5)
    lab.link()
    lab.unsubscribe("p1")
    lab.edit("p4", no_news=1)
    lab.settle()
    lab.advance(HOUR)
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["p1"], into=lab.ids["p2"], set={"opted_out": 0})
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["p3"], into=lab.ids["p4"], set={"no_news": 0})
    lab.settle()
    assert lab.send(NEWS) == {"p0"}
    assert lab.flags("p2")["opted_out"] == 1
    assert lab.flags("p4")["no_news"] == 1
    assert lab.send(OFFERS) == {"p0", "p4"}
    assert lab.holds() == ()
