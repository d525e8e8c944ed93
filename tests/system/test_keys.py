"""Under which key a destination knows a person: subscribers who were there before, keys that are somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from syncd.config import Secret
from syncd.desk import grants, keys
from syncd.doubles import Doubled
from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, SHARED, Lab, couple, separate


def test_existing_subscribers_keep_their_key_and_their_refusals(lab: Lab) -> None:
    lab.contacts(4)
    members = {"legacy-1": "p1@mail.example", "legacy-2": "p2@mail.example", "stranger": "x@elsewhere.example"}
    lab.world.act("mc", "import", list="L1", members=members)
    lab.world.act("mc", "import", list="L1", members={"legacy-3": "P3@mail.example"}, status="unsubscribed")
    lab.link()
    assert lab.keys(OFFERS) == {"p0", "legacy-1", "legacy-2"}
    assert lab.flags("p3")["offers"] == 0
    assert lab.status("stranger", "L1") == "subscribed"
    lab.world.act("mc", "unsubscribe", email="p2@mail.example", list="L1")
    lab.settle()
    assert lab.keys(OFFERS) == {"p0", "legacy-1"}
    assert lab.flags("p2")["offers"] == 0


def test_a_subscriber_known_by_the_address_alone_is_blocked_on_lists_that_do_not_have_it(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"keyed_by": "address"}) as lab:
        lab.contacts(2)
        lab.contact("ann", no_news=1, offers=0)
        lab.link()
        assert lab.status("ann@mail.example") is None
        lab.world.act("mc", "unsubscribe", email="ann@mail.example", list="L1")
        lab.settle()
        assert lab.status("ann@mail.example", "L2") == "unsubscribed"


def test_a_block_of_an_address_alone_is_no_subscriber(tmp_path: Path) -> None:
    """An employee puts an address that two people share on the provider's suppression list before the first plan. Who comes
    back comes back for herself: nobody said that the block was hers."""
    with Lab(tmp_path, separate()) as lab:
        couple(lab)
        lab.world.act("mc", "suppress", email=SHARED)
        lab.link()
        assert lab.keys(NEWS) == {"ann"}
        config: Any = SimpleNamespace(hash_key=Secret(lab.policy.hash_key.decode()))
        lab.advance(HOUR)
        grants.grant(lab.app.store, lab.app.mapping, config, SHARED, topic=None, evidence="a letter", by="an admin",
                     crm_id=lab.ids["eva"], now=lab.now())
        lab.settle()
        assert lab.keys(NEWS) == {"ann", "eva"}
        assert lab.rows("SELECT count(*) FROM operation WHERE state = 12") == [(0,)], "nothing was asked of no subscriber"


BY_EMAIL = MAPPING.replace("{value: crm_id, existing: match_email}", "{value: email, existing: refuse}")


def test_capital_letters_make_no_other_key(tmp_path: Path) -> None:
    """Who is a subscriber under her address in other letters is that subscriber, and need not move."""
    with Lab(tmp_path, BY_EMAIL) as lab:
        lab.contacts(3)
        lab.world.act("mc", "import", list="L2", members={"P1@Mail.example": "p1@mail.example"})
        lab.world.act("mc", "import", list="L2", members={"P2@Mail.example": "p2@mail.example"}, status="unsubscribed")
        lab.link()
        assert lab.keys(NEWS) == {"p0@mail.example", "P1@Mail.example"}
        about: Any = SimpleNamespace(store=lab.app.store, settled=lab.app.compiled)
        assert keys.survey(about)["destinations"][0]["other"] == 0
        assert keys.migrate(about, "mc")["destinations"][0]["moving"] == 0


REFUSING = MAPPING.replace("existing: match_email", "existing: refuse")


@pytest.fixture
def doubled(tmp_path: Path) -> Iterator[Lab]:
    """Before the link, of six people one is a subscriber under another key."""
    with Lab(tmp_path, REFUSING) as lab:
        lab.contacts(6)
        lab.world.act("mc", "import", list="L1", members={"legacy": "p1@mail.example"})
        yield lab


def test_a_link_that_would_make_second_subscribers_is_refused_until_a_rule_says_what_to_do(doubled: Lab) -> None:
    plan = doubled.cycle(deliver=False).plan
    assert plan is not None
    assert doubled.hold("existing_keys").reason.startswith("1 of 6 people")
    with pytest.raises(Doubled, match="1 of 6 people"):
        doubled.approve(plan)
    with pytest.raises(Doubled):
        doubled.decide("first_plan", "approved")
    doubled.cycle()
    assert doubled.keys(OFFERS) == set()
    doubled.reopen(MAPPING)
    doubled.link()
    assert doubled.keys(OFFERS) == {"p0", "legacy", *(f"p{n}" for n in range(2, 6))}


def test_blocks_of_addresses_alone_make_no_second_subscribers(tmp_path: Path) -> None:
    with Lab(tmp_path, REFUSING) as lab:
        lab.contacts(6)
        for name in ("p1", "p2"):
            lab.world.act("mc", "suppress", email=f"{name}@mail.example")
        lab.link()
        assert lab.keys(NEWS) == {"p0", "p3", "p4", "p5"}


def test_whoever_approves_second_subscribers_gets_them(doubled: Lab) -> None:
    doubled.cycle(deliver=False)
    doubled.decide("existing_keys", "approved")
    doubled.link()
    assert doubled.keys(OFFERS) == {f"p{n}" for n in range(6)}


def test_a_link_makes_no_second_subscriber_of_whoever_shares_an_address(tmp_path: Path) -> None:
    with Lab(tmp_path, separate().replace("existing: match_email", "existing: refuse")) as lab:
        couple(lab)
        lab.world.act("mc", "import", list="L2", members={lab.ids["eva"]: SHARED})
        lab.link()
        assert lab.keys(NEWS) == {"ann", "eva", "tom"}


def test_nobody_takes_the_key_that_is_another_persons_own(tmp_path: Path) -> None:
    with Lab(tmp_path, separate()) as lab:
        couple(lab)
        lab.world.act("mc", "import", list="L2", members={lab.ids["tom"]: SHARED})
        lab.link()
        assert lab.keys(NEWS) == {"ann", "eva", "tom"}


def test_foreign_rows_and_members_are_left_alone(lab: Lab) -> None:
    lab.contacts(3)
    lab.world.act("mc", "write_rows", audience=OFFERS, rows={"guest": {"email": "guest@elsewhere.example"}})
    lab.world.act("mc", "import", list="L1", members={"guest": "guest@elsewhere.example"})
    lab.link()
    lab.edit("p1", first_name="Other")
    lab.unsubscribe("p2")
    lab.settle()
    assert lab.keys(OFFERS) == {"p0", "p1", "guest"}
    assert lab.status("guest", "L1") == "subscribed"


@pytest.mark.parametrize("first", ["row", "refusal"])
def test_a_foreign_row_under_the_key_of_whoever_refused_goes_whatever_its_address(lab: Lab, first: str) -> None:
    lab.contacts(3)
    lab.link()
    row = {lab.ids["p1"]: {"email": "private@elsewhere.example"}}
    if first == "refusal":
        lab.unsubscribe("p1")
        lab.settle()
        assert "p1" not in lab.keys(NEWS)
        lab.world.act("mc", "write_rows", audience=NEWS, rows=row)
    else:
        lab.edit("p1", email=None)
        lab.settle()
        lab.world.act("mc", "write_rows", audience=NEWS, rows=row)
        lab.cycle(full=True)
        assert "p1" in lab.keys(NEWS), "nobody refused anything yet"
        lab.edit("p1", opted_out=1)
    lab.cycle(full=True)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2"}


def test_a_subscriber_who_was_deleted_at_the_provider_keeps_the_refusal(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1")
    lab.settle()
    lab.world.act("mc", "delete_subscribers", keys=[lab.ids["p1"]])
    lab.advance(DAY)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2"}
    lab.world.act("mc", "import", list="L2", members={lab.ids["p1"]: "p1@mail.example"})
    lab.settle()
    assert lab.status("p1") == "unsubscribed"


def test_unknown_people_are_created_unsubscribed_where_the_mapping_asks_for_it(tmp_path: Path) -> None:
    with Lab(tmp_path, MAPPING.replace("unknown_subscriber: skip", "unknown_subscriber: create_unsubscribed")) as lab:
        lab.contact("ann")
        lab.contact("bob", opted_out=1)
        lab.link()
        assert lab.status("bob") == "unsubscribed"


def test_who_gets_an_address_that_is_another_persons_key_waits_and_is_listed(tmp_path: Path) -> None:
    """Keys do not change by themselves: an opt-out is held under them."""
    text = MAPPING.replace("{value: crm_id, existing: match_email}", "{value: email, existing: match_email}")
    with Lab(tmp_path, text) as lab:
        lab.contacts(3)
        lab.link()
        lab.edit("p1", email="moved@mail.example")
        lab.settle()
        lab.contact("newcomer", email="p1@mail.example")
        lab.settle()
        assert lab.send(NEWS) == {"p0", "moved", "p2"}
        [(object_, key, reason, remedy)] = lab.rows(
            "SELECT object, key, reason, remedy FROM quarantine WHERE closed_at IS NULL")
        assert (object_, key, reason) == ("subscriber_key", lab.ids["newcomer"], "key_taken")
        assert "crm_id" in remedy
        assert lab.waits("newcomer") == {remedy}
        lab.edit("newcomer", email="newcomer@mail.example")
        lab.settle()
        assert lab.send(NEWS) == {"p0", "moved", "p2", "newcomer"}
        assert lab.rows("SELECT 1 FROM quarantine WHERE closed_at IS NULL") == []
