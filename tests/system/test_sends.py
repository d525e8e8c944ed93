"""An unsubscribe is one from the topic of the mail it came from, whatever list the mail went through; and mails that went
through the wrong one are told about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncd import sends
from syncd.desk import doctor
from syncd.model import Catalogue, ObjectInfo
from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, RICH, STAFF, Lab

CAMPAIGN = """
campaigns:
  spring: {segments: [rich], sends: ["Spring*"]}
  press: {sends: ["Press *"]}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Three people who get everything."""
    with Lab(tmp_path, MAPPING + CAMPAIGN) as found:
        found.contacts(3, spent="500.00")
        found.link()
        yield found


def send(lab: Lab, audience: str, **about: Any) -> str:
    """Mail an audience; the send's id."""
    answer = lab.world.act("mc", "send", audience=audience, **about)
    assert "p1@mail.example" in answer["mailed"]
    return str(answer["id"])


def leave(lab: Lab, mail: str) -> None:
    """p1 presses the unsubscribe link of a mail; what was heard of it."""
    lab.world.act("mc", "unsubscribe", email="p1@mail.example", send=mail)
    lab.settle()


def out_of(lab: Lab) -> set[str]:
    """What p1 is not mailed any more."""
    return {name for name, audience in (("offers", OFFERS), ("news", NEWS)) if "p1" not in lab.send(audience)}


def wrong(lab: Lab) -> list[tuple[str, str]]:
    """(send, level) of what is told about."""
    return [(w.send, w.level) for w in sends.wrong(lab.app.store, lab.app.mapping, 0)]


def listed(lab: Lab) -> list[str]:
    """The sends nobody understands."""
    return [key for key, in lab.rows("SELECT key FROM quarantine WHERE object = 'sends' AND closed_at IS NULL")]


def test_a_segments_mail_is_its_topics(lab: Lab) -> None:
    leave(lab, send(lab, RICH))
    assert out_of(lab) == {"offers"}
    assert lab.flags("p1")["offers"] == 0
    assert wrong(lab) == []


def test_a_mail_through_another_list_is_still_its_audiences_topic(lab: Lab) -> None:
    """The provider only stops the other list; the person stops getting what she wanted to stop."""
    mail = send(lab, OFFERS, through="L3")
    leave(lab, mail)
    assert out_of(lab) == {"offers"}
    assert lab.status("p1", "L1") == "unsubscribed"
    assert (lab.flags("p1")["offers"], lab.flags("p1")["opted_out"]) == (0, 0)
    assert wrong(lab) == [(mail, "error")]


def test_a_mail_through_the_list_of_another_topic_is_left_as_both(lab: Lab) -> None:
    leave(lab, send(lab, OFFERS, through="L2"))
    assert out_of(lab) == {"offers", "news"}
    assert lab.flags("p1")["opted_out"] == 0


def test_a_mail_to_unknown_readers_is_understood_by_its_name(lab: Lab) -> None:
    leave(lab, send(lab, OFFERS, through="L3", name="spring 2026", traced=False))
    assert out_of(lab) == {"offers"}
    assert listed(lab) == []


def test_a_campaign_without_topics_concerns_nobody(lab: Lab) -> None:
    entries = lab.entries()
    leave(lab, send(lab, OFFERS, through="L3", name="Press 12", traced=False))
    assert out_of(lab) == set()
    assert lab.entries() == entries


def test_a_mail_to_foreign_readers_concerns_nobody(lab: Lab) -> None:
    entries = lab.entries()
    lab.world.act("mc", "write_rows", audience=STAFF, rows={lab.ids["p1"]: {"email": "p1@mail.example"}})
    leave(lab, send(lab, STAFF))
    assert out_of(lab) == set()
    assert lab.entries() == entries


def test_a_mail_nobody_understands_means_all_mail_until_the_mapping_names_it(lab: Lab) -> None:
    mail = send(lab, OFFERS, through="L3", name="Untitled", traced=False)
    leave(lab, mail)
    assert out_of(lab) == {"offers", "news"}
    assert lab.flags("p1")["opted_out"] == 1
    assert listed(lab) == [mail]
    lab.reopen(MAPPING + CAMPAIGN.replace("Press *", "Untitled"))
    lab.advance(HOUR)
    lab.cycle()
    assert listed(lab) == []
    lab.cycle(full=True)
    lab.settle()
    assert out_of(lab) == {"offers", "news"}, "a name that comes later says nothing about what was said by then"
    assert lab.flags("p1")["opted_out"] == 1


def test_marketing_that_is_sent_as_transactional_is_told_about(lab: Lab) -> None:
    mail = send(lab, OFFERS, classification="transactional")
    lab.advance(HOUR)
    lab.settle()
    assert wrong(lab) == [(mail, "warning")]


@pytest.mark.parametrize(("about", "told"), [
    ({"name": "Spring 1"}, []),
    ({"name": "Spring 2", "through": "L3"}, [("error", "without its publication list L1")]),
    ({"name": "Spring 3", "classification": "transactional"}, [("warning", "as transactional")]),
    ({"name": "Untitled", "classification": "transactional"}, [("warning", "as transactional")]),  # by its list
    ({"name": "Untitled", "through": "L3", "classification": "transactional"}, []),                # by nothing
    ({"name": "Press 1", "through": "L3", "classification": "transactional"}, []),
    ({"name": "Receipt 1", "through": "L3"}, [("warning", "which is transactional by the mapping")]),
    ({"name": "Receipt 2", "through": "L3", "classification": "transactional"}, [])])
def test_a_mail_to_unknown_readers_is_judged_by_its_name_and_its_list(lab: Lab, about: dict[str, str],
                                                                      told: list[tuple[str, str]]) -> None:
    """As a journey's mail, or a guided send: the provider tells no audience."""
    lab.reopen(MAPPING + CAMPAIGN + "  receipts: {sends: [Receipt *], classification: transactional}\n")
    mail = send(lab, OFFERS, traced=False, **({"through": "L1"} | about))
    lab.advance(HOUR)
    lab.settle()
    found = sends.wrong(lab.app.store, lab.app.mapping, 0)
    assert [(w.send, w.level) for w in found] == [(mail, level) for level, _ in told]
    assert all(part in w.message for w, (_, part) in zip(found, told, strict=True))


def test_sends_are_read_seldom(lab: Lab) -> None:
    def read() -> int:
        return int(lab.rows("SELECT count(*) FROM send")[0][0])
    lab.advance(HOUR)
    lab.settle()
    before = read()
    send(lab, NEWS)
    lab.advance(60)
    lab.cycle()
    assert read() == before
    lab.advance(DAY)
    lab.cycle()
    assert read() == before + 1


# --------------------------------------------------------------------------- before anything is sent

@pytest.mark.parametrize(("audiences", "containers", "classification", "told"), [
    (";de:OFFERS;", ";L1;", "commercial", []),
    (";de:RICH;de:TOP;", ";L1;", None, []),
    (";de:STAFF;", ";L3;", "transactional", []),
    (";de:offers;", ";L2;", "commercial", [("error", "without its publication list L1")]),
    (";de:RICH;", None, "commercial", [("error", "without its publication list L1")]),
    (";de:NEWS;", ";L2;", "transactional", [("warning", "as transactional")]),
    (None, None, "commercial", []),   # a triggered send: what it is about is told by its list
    (None, ";L1;", "transactional", [("warning", "as transactional")])])
def test_definitions_of_sends_are_checked(lab: Lab, audiences: str, containers: str | None, classification: str | None,
                                          told: list[tuple[str, str]]) -> None:
    properties = {"audiences": audiences, "containers": containers, "classification": classification}
    known = lab.world.connector("mc").describe().objects
    send = {"send:x": ObjectInfo("send:x", "Untitled", properties=properties)}
    found = [p for p in doctor.fitting(lab.app.mapping, {"mc": Catalogue({**known, **send})}) if "Untitled" in p.message]
    assert [p.level for p in found] == [level for level, _ in told]
    assert all(part in p.message for p, (_, part) in zip(found, told, strict=True))


@pytest.mark.parametrize("audiences", [None, ";de:STAFF;"])
def test_a_definition_is_also_what_its_campaign_says(lab: Lab, audiences: str | None) -> None:
    """A triggered send tells no audience; another's may hold what a query made of ours."""
    about = {"audiences": audiences, "containers": None, "classification": "transactional"}
    known = lab.world.connector("mc").describe().objects
    send = {"send:x": ObjectInfo("send:x", "Spring", properties=about)}
    found = [p for p in doctor.fitting(lab.app.mapping, {"mc": Catalogue({**known, **send})}) if "Spring" in p.message]
    assert [p.level for p in found] == ["error", "warning"]
