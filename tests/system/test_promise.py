"""The promise under unlucky sequences: ordinary events in an order that once made somebody mailable, or silent for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.wrappers import Wrapper
from syncd import guard
from syncd.model import Page, StreamSpec
from tests.system.lab import HOUR, MAPPING, NEWS, OFFERS, ONLY_AT_THE_PROVIDER, Lab, came_back

SHARED = "team@mail.example"


def rows_only(lab: Lab) -> None:
    """A first plan, delivered; nothing was sent yet, so that the provider has rows and no subscribers."""
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.settle()


def test_a_record_that_leaves_a_person_keeps_the_refusal_written_on_it(lab: Lab) -> None:
    lab.contact("eva", email=SHARED)
    lab.contact("twin", email=SHARED, first_name="Eva")
    lab.contact("ann")
    lab.link()
    lab.unsubscribe("eva")
    lab.settle()
    assert lab.flags("twin")["opted_out"] == 1
    lab.edit("twin", email="twin@mail.example")
    lab.settle()
    assert lab.keys(NEWS) == lab.keys(OFFERS) == {"ann"}


def test_refusals_that_an_earlier_installation_wrote_count_at_a_first_link(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.edit("p1", no_news=1)
    lab.settle()
    assert lab.status("p1", "L2") == "unsubscribed"
    lab.app.close()
    for path in lab.directory.iterdir():
        path.unlink()
    lab.edit("p1", no_news=0)
    lab.app = lab.open(MAPPING)
    rows_only(lab)
    assert lab.rows('SELECT count(*), sum("mailable.news") FROM decision') == [(2, 1)]
    assert lab.flags("p1")["no_news"] == 1


def test_who_comes_to_a_provider_by_one_topic_is_refused_there_for_the_others(lab: Lab) -> None:
    """Somebody there may send anything to whoever is in any audience: the send makes a subscriber of her row."""
    lab.contact("ann", no_news=1)
    lab.contact("bob", no_news=1, offers=0)
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.settle()
    assert lab.keys(OFFERS) == {"ann"}
    assert (lab.status("ann", "L2"), lab.status("bob", "L2")) == ("unsubscribed", None)
    assert lab.world.send("mc", OFFERS, through="L2")["mailed"] == []
    lab.written()
    lab.app.store.write(lambda conn: conn.execute("INSERT INTO dirty SELECT person FROM record").rowcount)
    lab.settle()
    assert lab.written() == {"sf": 0, "mc": 0}, "decided from scratch, something else is wanted"


def test_the_row_of_a_merged_contact_goes_with_the_refusal_though_removals_are_held(lab: Lab) -> None:
    names = lab.contacts(60)
    rows_only(lab)
    for loser, winner in zip(names[30:55], names[:25], strict=True):
        lab.world.act("sf", "merge", object="Contact", id=lab.ids[loser], into=lab.ids[winner])
    lab.settle()
    assert {h.cls for h in lab.holds()} == {"removals"}
    assert "p30" in lab.keys(NEWS)
    lab.edit("p0", opted_out=1)
    lab.settle()
    assert not {"p0", "p30"} & lab.keys(NEWS)
    assert {"p31"} <= lab.keys(NEWS), "the others wait for the verdict"


def test_whoever_shares_an_address_is_silenced_by_a_refusal_that_comes_with_a_merge(tmp_path: Path) -> None:
    with Lab(tmp_path, MAPPING.replace("same_email: one_person", "same_email: separate")) as lab:
        lab.contact("eva", email=SHARED)
        lab.contact("tom", email=SHARED)
        lab.contact("zoe", no_news=1)
        lab.link()
        assert lab.keys(NEWS) == {"eva", "tom"}
        lab.world.act("sf", "merge", object="Contact", id=lab.ids["zoe"], into=lab.ids["eva"])
        lab.settle()
        assert lab.keys(NEWS) == set()


def test_nobody_comes_back_for_another_with_whom_an_address_is_in_doubt(lab: Lab) -> None:
    lab.contact("eva")
    lab.contact("tom")
    lab.link()
    lab.unsubscribe("eva", "L1")
    lab.settle()
    lab.edit("tom", email="eva@mail.example")
    lab.settle()
    lab.advance(3600)
    lab.web_opt_in("tom")
    lab.world.act("mc", "write_rows", audience=OFFERS, rows={"by hand": {"email": "eva@mail.example"}})
    lab.cycle(full=True)
    lab.settle()
    assert lab.status("eva", "L1") == "unsubscribed"
    assert lab.send(OFFERS) == set()


def test_opt_outs_of_a_rejected_first_plan_wait_for_the_next(lab: Lab) -> None:
    lab.contact("bob", opted_out=1)
    lab.world.act("mc", "import", list="L1", members={lab.ids["bob"]: "bob@mail.example"})
    lab.cycle()
    for hold in lab.holds():
        if hold.connection == "mc":
            guard.decide_hold(lab.app.store, hold.id, "rejected", lab.now())
    lab.contact("ann")
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.settle()
    assert lab.status("bob") == "unsubscribed"


def test_a_reopening_is_not_sent_while_its_person_waits_to_be_looked_at_again(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.settle()
    lab.advance(3600)
    lab.web_opt_in("p1")
    lab.cycle(deliver=False)
    [(person,)] = lab.rows("SELECT DISTINCT person FROM operation WHERE class = 1 AND kind = 'status' AND state = 2")
    lab.app.store.write(lambda conn: conn.execute("INSERT INTO waiting VALUES (?)", (person,)).rowcount)
    lab.app.store.write(lambda conn: conn.execute("UPDATE operation SET attempts = 1 WHERE state = 2").rowcount)
    lab.app.cycle().deliver(None)
    assert lab.status("p1", "L1") == "unsubscribed"


def test_who_parts_from_the_holder_of_the_own_key_is_mailed_under_another(lab: Lab) -> None:
    lab.contact("eva", email=SHARED)
    lab.contact("twin", email=SHARED, first_name="Eva")
    lab.advance(60)
    lab.edit("twin", spent="20.00")
    lab.link()
    assert lab.keys(NEWS) == {"twin"}, "the record that changed last gives the person its key"
    lab.edit("twin", email="twin@mail.example")
    lab.settle()
    assert lab.send(NEWS) == {"team", "twin"}


def test_who_came_back_can_be_stopped_again_in_the_crm(lab: Lab) -> None:
    """A box that only says no is unticked when the person comes back; left ticked, nobody could tick it again."""
    came_back(lab)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p1"}
    assert lab.flags("p1")["no_news"] == 0
    lab.advance(3600)
    lab.edit("p1", no_news=1)
    lab.settle()
    assert lab.keys(NEWS) == {"p0"}


class Nameless(Wrapper):
    """An ESP that names members and events by the subscriber's key alone, and whose subscribers were not read yet."""

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        for page in self.inner.changes(spec, cursor):
            email = spec.columns.index("email") if spec.kind in ("status", "event") else None
            rows = page.rows if email is None else [
                (*row[:email], None, *row[email + 1:]) for row in page.rows if spec.kind == "event" or spec.container]
            yield Page(rows, page.cursor, page.last, page.complete)


def test_a_refusal_stays_with_the_address_though_the_provider_named_only_a_key(lab: Lab) -> None:
    """Somebody leaves a list, and before anyone knows her contact gets another address: the old one, which another record
    holds, too, is not mailed again."""
    lab.contact("eva", email=SHARED)
    lab.contact("twin", email=SHARED, first_name="Eva")
    lab.contact("ann")
    lab.app.connectors["mc"] = Nameless(lab.app.connectors["mc"])
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.cycle()
    for news in (OFFERS, NEWS):
        lab.world.send("mc", news)
    assert lab.rows("SELECT count(*) FROM remote_status WHERE container = ''") == [(0,)]
    [key] = lab.keys(NEWS) & {"eva", "twin"}
    lab.world.act("mc", "unsubscribe", email=SHARED, list="L2", key=lab.ids[key])
    lab.edit(key, email="other@mail.example")
    lab.settle()
    assert lab.send(NEWS) == {"ann"}


@pytest.mark.parametrize("mover", ["eva", "twin"])
def test_a_refusal_of_the_mailbox_goes_with_every_record_that_held_it(tmp_path: Path, mover: str) -> None:
    """No CRM field carries it, and nobody can say which of the two contacts the person was who clicked."""
    with Lab(tmp_path, ONLY_AT_THE_PROVIDER) as lab:
        lab.contact("eva", email=SHARED)
        lab.contact("twin", email=SHARED, first_name="Eva")
        lab.contact("ann")
        lab.link()
        [key] = lab.keys(NEWS) - {"ann"}
        lab.world.act("mc", "unsubscribe", email=SHARED, list="L2", key=lab.ids[key])
        lab.settle()
        for name in (mover, "eva", "twin"):
            lab.edit(name, email=f"{name}.new@mail.example")
            lab.settle()
            assert lab.keys(NEWS) == {"ann"}


def test_a_refusal_and_a_move_that_are_read_together(tmp_path: Path) -> None:
    with Lab(tmp_path, ONLY_AT_THE_PROVIDER) as lab:
        lab.contact("eva", email=SHARED)
        lab.contact("twin", email=SHARED, first_name="Eva")
        lab.link()
        [key] = lab.keys(NEWS)
        lab.world.act("mc", "unsubscribe", email=SHARED, list="L2", key=lab.ids[key])
        lab.edit("twin", email="twin.new@mail.example")
        lab.settle()
        assert lab.keys(NEWS) == set()


@pytest.mark.parametrize(("when", "mailed"), [("before", {"eva"}), ("between", set())])
def test_an_unmerge_takes_along_what_was_said_in_between_and_nothing_older(tmp_path: Path, when: str,
                                                                           mailed: set[str]) -> None:
    with Lab(tmp_path, ONLY_AT_THE_PROVIDER) as lab:
        lab.contact("zoe")
        lab.contact("eva")
        lab.link()
        if when == "before":
            lab.unsubscribe("zoe", "L2")
            lab.settle()
        lab.world.act("sf", "merge", object="Contact", id=lab.ids["eva"], into=lab.ids["zoe"])
        lab.settle()
        if when == "between":
            lab.unsubscribe("zoe", "L2")
            lab.settle()
        assert lab.keys(NEWS) == set()
        lab.world.act("sf", "undelete", object="Contact", id=lab.ids["eva"])
        lab.settle()
        assert lab.keys(NEWS) == mailed


def boxes_of(lab: Lab) -> list[tuple[str, int, int]]:
    """What the boxes of the CRM say by the ledger: (words, baseline, count)."""
    return lab.rows("SELECT u.said, u.baseline, count(*) FROM entry e JOIN utterance u ON u.id = e.utterance"
                    " WHERE u.source = 'sf.Contact' AND u.said LIKE '%news%' GROUP BY 1, 2 ORDER BY 1, 2")


@pytest.mark.parametrize("attributes", ["email: email", "email: email, stopped: no_news"], ids=["unread", "read"])
def test_a_box_that_is_mapped_after_the_link_is_taken_down_as_it_is_found(tmp_path: Path, attributes: str) -> None:
    """Whether the field was read before for another purpose or not."""
    before = ONLY_AT_THE_PROVIDER.replace("email: email", attributes)
    with Lab(tmp_path, before) as lab:
        names = lab.contacts(60)
        for name in names[:30]:
            lab.edit(name, no_news=1)
        lab.link()
        assert len(lab.keys(NEWS)) == 60, "nothing says yet that the box means news"
        lab.reopen(MAPPING.replace("email: email", attributes))
        lab.settle()
        assert lab.keys(NEWS) == set(names[30:])
        assert boxes_of(lab) == [('[["topic","news","opt_out"]]', 1, 30)]
        assert {h.cls for h in lab.holds()} <= {"mapping"}
        lab.edit("p40", no_news=1)
        lab.settle()
        assert "p40" not in lab.keys(NEWS)
        assert boxes_of(lab) == [('[["topic","news","opt_out"]]', 0, 1), ('[["topic","news","opt_out"]]', 1, 30)]


@pytest.mark.parametrize("attributes", ["email: email", "email: email, stopped: no_news"], ids=["unread", "read"])
def test_a_box_that_is_mapped_after_the_link_counts_where_it_is_read_a_cycle_later(tmp_path: Path, attributes: str) -> None:
    """The reading breaks off after half of the records. By then everybody was decided once by the new mapping."""
    with Lab(tmp_path, ONLY_AT_THE_PROVIDER.replace("email: email", attributes), crm={"page_size": 2}) as lab:
        lab.contacts(8, no_news=1)
        lab.link()
        assert len(lab.keys(NEWS)) == 8
        lab.reopen(MAPPING.replace("email: email", attributes))
        lab.world.fault("outage", connection="sf", verb="changes", skip=2, count=2)
        lab.cycle()
        assert len(lab.keys(NEWS)) == 4
        lab.world.clear_faults()
        lab.settle()
        assert lab.keys(NEWS) == set()


def test_nobody_gets_a_new_topic_before_its_box_was_read_in_every_record(tmp_path: Path) -> None:
    """The reading breaks off: a plan of half of it would be approved, and those whose boxes refuse would be mailed. Who
    leaves another topic meanwhile is out of it."""
    kept = MAPPING[:MAPPING.index("  news:\n    name")] + MAPPING[MAPPING.index("segments:"):]
    without_news = "".join(line for line in kept.splitlines(True) if not line.startswith("      news: "))
    with Lab(tmp_path, without_news, crm={"page_size": 2}) as lab:
        lab.contacts(8, no_news=1)
        lab.contact("ann")
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        lab.send(OFFERS)
        lab.settle()
        lab.reopen(MAPPING)
        lab.world.fault("outage", connection="sf", verb="changes", skip=2, count=None)
        assert lab.cycle().plan is None
        lab.unsubscribe("p5", "L1")
        assert lab.cycle().plan is None
        assert (lab.send(NEWS), "p5" in lab.keys(OFFERS)) == (set(), False)
        lab.world.clear_faults()
        lab.settle()
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert lab.send(NEWS) == {"ann"}


def test_a_box_that_asks_for_mail_and_is_mapped_after_the_link_counts_once_it_is_approved(tmp_path: Path) -> None:
    i, j = MAPPING.index("    consent:\n      sf.Contact:\n        field: offers"), MAPPING.index("  news:")
    with Lab(tmp_path, MAPPING[:i] + MAPPING[j:]) as lab:
        lab.contacts(2)
        lab.contact("ann", offers=0)
        lab.link()
        assert lab.keys(OFFERS) == set()
        lab.reopen(MAPPING)
        lab.settle()
        assert lab.keys(OFFERS) == set()
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert lab.keys(OFFERS) == {"p0", "p1"}


def test_a_permission_found_at_a_first_link_is_not_given_anew_because_another_box_changed(lab: Lab) -> None:
    """It loses to every refusal found with it; said again as news it would be later than an older one."""
    lab.contact("ann")
    eva = lab.contact("eva")
    lab.world.act("mc", "import", list="L1", members={eva: "eva@mail.example"})
    lab.unsubscribe("eva")
    lab.advance(3600)
    lab.web_opt_in("eva")
    lab.advance(3600)
    lab.link()
    before = lab.entries()
    assert "eva" not in lab.keys(OFFERS)
    lab.edit("eva", no_news=1)
    lab.settle()
    assert lab.entries() == before + 1
    assert "eva" not in lab.keys(OFFERS)


def test_a_list_may_be_named_as_the_place_of_consent_and_of_delivery(tmp_path: Path) -> None:
    news = "    opt_in: none\n    consent:\n"
    text = MAPPING.replace(news, news + "      mc: {publication_list: L2}\n")
    with Lab(tmp_path, text) as lab:
        lab.contacts(2)
        lab.link()
        lab.edit("p1", no_news=1)
        lab.settle()
        assert lab.send(NEWS) == {"p0"}
        assert lab.status("p1", "L2") == "unsubscribed"


@pytest.mark.parametrize("keyed_by", ["key", "address"])
def test_what_an_address_refused_binds_whom_its_record_was_merged_into_unseen(tmp_path: Path, keyed_by: str) -> None:
    with Lab(tmp_path, esp={"keyed_by": keyed_by}) as lab:
        lab.contact("ann")
        lab.contact("cleo")
        lab.contact("dan")
        lab.world.act("mc", "import", list="L1", members={"cleo@mail.example": "cleo@mail.example"})
        lab.world.act("mc", "unsubscribe", email="cleo@mail.example", list="L1", key="cleo@mail.example")
        lab.advance(60)
        lab.world.act("sf", "merge", object="Contact", id=lab.ids["cleo"], into=lab.ids["ann"])
        lab.link()
        lab.settle()
        assert {row["email"] for row in lab.world.truth()["mc"]["audiences"][OFFERS]["rows"]} == {"dan@mail.example"}


def test_a_box_ticked_after_a_deletion_is_a_refusal_though_it_was_ticked_before(lab: Lab) -> None:
    """She came back, and the box was unticked, in the poll that tells of the deletion."""
    lab.contacts(2)
    lab.link()
    lab.edit("p1", opted_out=1)
    lab.settle()
    lab.advance(HOUR)
    lab.web_opt_in("p1")
    lab.edit("p1", opted_out=0)
    lab.world.act("sf", "delete", object="Contact", id=lab.ids["p1"])
    lab.settle()
    lab.advance(HOUR)
    lab.world.act("sf", "undelete", object="Contact", id=lab.ids["p1"])
    lab.edit("p1", opted_out=1)
    lab.settle()
    assert "p1" not in lab.keys(OFFERS)
