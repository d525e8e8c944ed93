"""Lists and audiences get other topics: who unsubscribes from a mail of before leaves what the mail was about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, Lab

LISTS = (("publication_list: L1", "publication_list: L2"),)
ALL = (*LISTS, ("key: OFFERS}", "key: NEWS}"))


def swapped(pairs: tuple[tuple[str, str], ...] = ALL) -> str:
    """The mapping with the places of offers and news exchanged."""
    text = MAPPING
    for one, other in pairs:
        text = text.replace(one, "?").replace(other, one).replace("?", other)
    return text


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as made:
        made.contacts(4)
        made.link()
        yield made


def mail(lab: Lab, audience: str) -> str:
    return str(lab.world.send("mc", audience)["id"])


def leave(lab: Lab, name: str, sent: str) -> None:
    """A recipient presses the link in a mail."""
    lab.world.act("mc", "unsubscribe", email=f"{name}@mail.example", send=sent)
    lab.settle()


def told(lab: Lab, name: str) -> set[str]:
    """What a person refused, by the ledger."""
    return {topic for topic in ("offers", "news") if lab.rows(
        "SELECT 1 FROM entry e JOIN utterance u ON u.id = e.utterance JOIN record r ON r.id = e.record"
        f""" WHERE r.rid = ? AND u.method = 'unsubscribe' AND u.said LIKE '%"{topic}"%'""", lab.ids[name])}


@pytest.mark.parametrize("pairs", [LISTS, ALL], ids=["lists", "lists and audiences"])
@pytest.mark.parametrize("read", [True, False], ids=["read before", "read after"])
def test_a_mail_of_before_is_about_what_it_was_about(lab: Lab, pairs: tuple[tuple[str, str], ...], read: bool) -> None:
    """Also where syncd hears of the mail only after the change; the list that the provider took her off is left, too."""
    sent = mail(lab, OFFERS)
    if read:
        lab.cycle(full=True)
    lab.advance(HOUR)
    lab.use(swapped(pairs))
    lab.advance(HOUR)
    leave(lab, "p1", sent)
    assert told(lab, "p1") == {"offers", "news"}
    assert "p1" not in lab.send(OFFERS) | lab.send(NEWS)
    assert lab.send(OFFERS) == lab.send(NEWS) == {"p0", "p2", "p3"}


def test_a_mail_of_long_after_is_about_what_it_is_about_now(lab: Lab) -> None:
    lab.use(swapped())
    on_the_day = mail(lab, OFFERS)
    lab.advance(DAY + HOUR)
    later = mail(lab, OFFERS)
    leave(lab, "p1", on_the_day)
    leave(lab, "p2", later)
    assert (told(lab, "p1"), told(lab, "p2")) == ({"offers", "news"}, {"news"})


def test_each_mail_is_judged_by_the_mapping_of_its_day(lab: Lab) -> None:
    """It was changed and changed back: what was said in between concerns the mails of in between alone."""
    before = mail(lab, OFFERS)
    lab.advance(HOUR)
    lab.use(swapped())
    lab.advance(2 * DAY)
    between = mail(lab, OFFERS)
    lab.advance(HOUR)
    lab.use(MAPPING)
    lab.advance(2 * DAY)
    after = mail(lab, OFFERS)
    for name, sent in (("p1", before), ("p2", between), ("p3", after)):
        leave(lab, name, sent)
    assert [told(lab, name) for name in ("p1", "p2", "p3")] == [{"offers"}, {"offers", "news"}, {"offers"}]


def test_nobody_leaves_a_topic_that_has_ended(lab: Lab) -> None:
    """Else the mapping would be refused from then on: a topic that somebody left cannot vanish."""
    sent = mail(lab, NEWS)
    lab.cycle(full=True)
    kept = MAPPING[:MAPPING.index("  news:\n    name")] + MAPPING[MAPPING.index("segments:"):]
    lab.use("".join(line for line in kept.splitlines(True) if not line.startswith("      news: ")))
    leave(lab, "p1", sent)
    assert told(lab, "p1") == set()
    lab.reopen()
    lab.settle()
    assert "p1" in lab.send(OFFERS)
