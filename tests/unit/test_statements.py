"""What a changed box, a changed status and an event say, and what says nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from state.ledger import Alike, NewEntry
from state.records import Sight
from state.relations import FlagDef, SourceDef
from state.sends import Send
from state.statuses import Event, StatusChange
from syncd.consent import CLOCK_TOLERANCE
from syncd.model import EVENT_KINDS, ORIGINS, STATUSES
from syncd.statements import Containers, Requests, from_events, from_first_sight, from_flags, from_statuses
from tests.unit.state_lab import each

NOW, BEFORE, HOUR = 1_750_000_000_000_000, 1_749_999_940_000_000, 3_600_000_000
MASTER = FlagDef("out", None, {1: "opt_out", 0: "unknown", None: "unknown"}, {"opt_out": 1, "opt_in": 0})
TICK = FlagDef("offers", "offers", {1: "opt_in", 0: "unknown"}, {"opt_in": 1, "opt_out": 0}, "at", "how", "made")
NO = FlagDef("no_news", "news", {1: "opt_out", 0: "unknown"}, {"opt_out": 1, "opt_in": 0})
CHOICE = FlagDef("wish", "offers", {"yes": "opt_in", "no": "opt_out"}, {"opt_in": "yes", "opt_out": "no"})
KNOWN = Containers(2, "mc", {"L1": ("offers",), "L9": ("offers", "news")}, frozenset({"L9"}))


def flags(*cells: Any, flag: FlagDef = TICK, fresh: int = 0, since: int | None = BEFORE, modified: int | None = None,
          ) -> tuple[list[NewEntry], Requests]:
    """Entries for one record whose one flag went from ``cells[0]`` to ``cells[1]`` (said_at, method, made follow)."""
    row = (7, "c7", fresh, 70, b"h", modified, *cells, *[None] * (5 - len(cells)))
    requests = Requests()
    source = SourceDef(1, "sf.Contact", 0, {}, flags=(flag,))
    if since is None and fresh:
        sight = Sight(row[6:], [7], [70], ["c7"], [b"h"])
        return each(from_first_sight(source, [sight], 1, NOW, requests)), requests
    return each(from_flags(source, [row], connection=1, since=since, now=NOW, requests=requests)), requests


def what(entries: list[NewEntry]) -> list[tuple[Any, ...]]:
    """(scope and state, method, person-made, baseline) of each entry."""
    return [(*map(tuple, orjson.loads(e.utterance.said)), e.utterance.method, e.utterance.person_made, e.utterance.baseline)
            for e in entries]


OUT_OFFERS, OUT_ALL = ("topic", "offers", "opt_out"), ("master", None, "opt_out")
IN_OFFERS = ("topic", "offers", "opt_in")


# --------------------------------------------------------------------------- boxes

@pytest.mark.parametrize(("flag", "old", "new", "expected"), [
    (TICK, 1, 0, [(OUT_OFFERS, "flag", 0, 0)]),
    (TICK, 1, None, [(OUT_OFFERS, "flag", 0, 0)]),
    (TICK, 0, 0, []), (TICK, None, 0, []), (TICK, 0, None, []),
    (MASTER, 0, 1, [(OUT_ALL, "flag", 0, 0)]), (MASTER, None, 1, [(OUT_ALL, "flag", 0, 0)]), (MASTER, 1, 1, []),
    (NO, 0, 1, [(("topic", "news", "opt_out"), "flag", 0, 0)]), (NO, 1, 1, []),
    (CHOICE, "yes", "no", [(OUT_OFFERS, "flag", 0, 0)]), (CHOICE, None, "no", [(OUT_OFFERS, "flag", 0, 0)]),
    (CHOICE, "yes", "other", [(OUT_OFFERS, "flag", 0, 0)]), (CHOICE, None, "other", []),
])
def test_towards_no_mail_counts_at_once(flag: FlagDef, old: Any, new: Any, expected: list[Any]) -> None:
    entries, requests = flags(old, new, flag=flag)
    assert what(entries) == expected
    assert requests.found == []
    assert bool(requests.withdrawn) == bool(expected)


@pytest.mark.parametrize(("flag", "old", "new"), [(TICK, 0, 1), (TICK, None, 1), (MASTER, 1, 0), (MASTER, 1, None),
                                                  (CHOICE, "no", "yes"), (CHOICE, None, "yes")])
def test_towards_mail_is_only_a_request(flag: FlagDef, old: Any, new: Any) -> None:
    entries, requests = flags(old, new, flag=flag)
    assert entries == []
    assert requests.found == [(7, flag.field)]


@pytest.mark.parametrize("since", [None, BEFORE])
@pytest.mark.parametrize(("old", "new", "fresh", "said"), [
    (None, "asked", 1, False), (None, "asked", 0, True), ("yes", "asked", 0, True), ("no", "asked", 0, True),
    ("asked", "asked", 0, False)])
def test_who_was_asked_and_has_not_confirmed_waits(old: Any, new: Any, fresh: int, said: bool, since: int | None) -> None:
    flag = FlagDef("wish", "offers", {"yes": "opt_in", "no": "opt_out", "asked": "pending"}, {})
    entries, requests = flags(old, new, flag=flag, fresh=fresh, since=since)
    assert what(entries) == ([(("topic", "offers", "pending"), "flag", 0, int(since is None))] if said else [])
    assert requests.found == []


@pytest.mark.parametrize(("cells", "counts"), [
    ((0, 1, NOW - 5, "web", 1), True), ((0, 1, NOW - 5, "import", 0), False), ((0, 1, None, "web", 1), False),
    ((1, 1, NOW - 5, "web", 1), True)])
def test_evidence_makes_it_the_persons_own_word(cells: tuple[Any, ...], counts: bool) -> None:
    entries, requests = flags(*cells)
    assert what(entries) == ([(IN_OFFERS, "web", 1, 0)] if counts else [])
    if counts:
        [entry] = entries
        assert (entry.said_lo, entry.said_hi, entry.knowledge) == (NOW - 5, NOW - 5, None)
        assert entry.knew == (NOW - 5 - CLOCK_TOLERANCE, NOW - 5 - CLOCK_TOLERANCE), "a form's clock is not the CRM's"
        assert requests.found == []


def test_a_first_link_finds_baselines() -> None:
    row = {"fresh": 1, "since": None}
    assert what(flags(None, 1, flag=MASTER, **row)[0]) == [(OUT_ALL, "flag", 0, 1)]  # type: ignore[arg-type]
    assert what(flags(None, 1, **row)[0]) == [(IN_OFFERS, "flag", 0, 1)]  # type: ignore[arg-type]
    assert flags(None, 0, flag=MASTER, **row)[0] == flags(None, 0, **row)[0] == []  # type: ignore[arg-type]
    [entry] = flags(None, 1, flag=MASTER, **row)[0]  # type: ignore[arg-type]
    assert (entry.said_lo, entry.said_hi) == (None, NOW)


def test_a_first_link_gives_evidence_no_knowledge() -> None:
    [entry] = flags(None, 1, NOW - 5, "web", 1, fresh=1, since=None)[0]
    assert (entry.utterance.baseline, entry.knew) == (1, None)


def test_a_record_that_came_later_speaks_for_now_and_its_tick_is_kept_without_weight() -> None:
    entries, requests = flags(None, 1, fresh=1)
    assert what(entries) == [(IN_OFFERS, "flag", 0, 0)]
    assert requests.found == []


@pytest.mark.parametrize(("modified", "expected"), [
    (None, (BEFORE, NOW)), (NOW - 9, (BEFORE, NOW - 9)), (BEFORE - 9, (BEFORE, NOW)), (NOW + 9, (BEFORE, NOW))])
def test_an_untracked_change_was_said_between_two_polls(modified: int | None, expected: tuple[int, int]) -> None:
    [entry] = flags(0, 1, flag=MASTER, modified=modified)[0]
    assert (entry.said_lo, entry.said_hi) == expected
    assert (entry.record, entry.rid, entry.address, entry.hash) == (7, "c7", 70, b"h")


@pytest.mark.parametrize(("said", "expected"), [
    (None, (BEFORE, NOW)), (BEFORE + 7, (BEFORE + 7, BEFORE + 7)), (BEFORE - 1, (BEFORE, NOW)), (NOW + 1, (BEFORE, NOW))])
@pytest.mark.parametrize("modified", [None, BEFORE + 5])
def test_a_refusal_beside_the_record_has_its_own_date_or_none(modified: int | None, said: int | None,
                                                              expected: tuple[int, int]) -> None:
    meanings = {"Out": "opt_out", "In": "opt_in", None: "nothing"}
    beside = FlagDef("Consent.News", "news", meanings, {"opt_out": "Out"}, "at", "how", "made", dated=True)
    (entry,), _ = flags("In", "Out", said, "syncd", 0, flag=beside, modified=modified)
    assert (entry.said_lo, entry.said_hi, entry.evidence) == (*expected, None)
    assert flags("In", None, said, None, 0, flag=beside)[0] == [], "nothing is no refusal"
    (found,), _ = flags(None, "Out", said, None, 0, flag=beside, fresh=1, since=None)
    assert (found.said_lo, found.utterance.baseline) == (None, 1)


@pytest.mark.parametrize(("said", "modified", "expected"), [
    (NOW - 5, None, (NOW - 5, NOW - 5)),
    (NOW - 5, NOW - 5_000_000, (NOW - 5, NOW - 5)),
    (NOW + 3 * HOUR, None, (NOW + 3 * HOUR, NOW)),
    (NOW + 25 * HOUR, None, (None, NOW))])
def test_who_asked_in_a_row_beside_the_record_did_so_before_it_was_read(said: int, modified: int | None,
                                                                        expected: tuple[int | None, int]) -> None:
    """When the record itself was changed says nothing of that row."""
    beside = FlagDef("Consent.News", "news", {"In": "opt_in"}, {}, "at", "how", "made", dated=True)
    (entry,), _ = flags(None, "In", said, "web", 1, flag=beside, modified=modified)
    assert (entry.said_lo, entry.said_hi) == expected
    assert entry.knew == (None if expected[0] is None else (min(expected) - CLOCK_TOLERANCE,) * 2)


def test_flags_of_one_record_and_author_are_one_entry() -> None:
    source = SourceDef(1, "sf.Contact", 0, {}, flags=(MASTER, NO, TICK))
    row = (7, "c7", 0, 70, b"h", None, 0, 1, None, None, 0, 0, 1, None, None, 0, 0, 1, NOW - 5, "web", 1)
    entries = each(from_flags(source, [row], connection=1, since=BEFORE, now=NOW, requests=Requests()))
    assert what(entries) == [(OUT_ALL, ("topic", "news", "opt_out"), "flag", 0, 0), (IN_OFFERS, "web", 1, 0)]


def test_equal_first_sights_share_their_words() -> None:
    source = SourceDef(1, "sf.Contact", 0, {}, flags=(MASTER,))
    sight = Sight((None, 1, None, None, 0), [0, 1, 2], [7, None, 8], ["c0", "c1", "c2"], [b"h", None, b"i"])
    [entry] = from_first_sight(source, [sight], 1, NOW, Requests())
    assert isinstance(entry, Alike)
    assert entry[2:] == sight[1:]


# --------------------------------------------------------------------------- statuses

def status(old: str | None, new: str, origin: str = "person", *, container: str = "L1", at: int | None = NOW - 5,
           since: int | None = BEFORE) -> list[NewEntry]:
    change = StatusChange(container, "k", 70, old, new, at, origin, "ev", 7)
    return from_statuses(KNOWN, [change], since=since, now=NOW)


def test_a_member_who_leaves_opts_out_of_what_the_list_means() -> None:
    assert what(status("subscribed", "unsubscribed")) == [(OUT_OFFERS, "person", 1, 0)]
    assert what(status("subscribed", "unsubscribed", container="")) == [(OUT_ALL, "person", 1, 0)]
    assert what(status(None, "unsubscribed", "api", container="L9")) == [
        (OUT_OFFERS, ("topic", "news", "opt_out"), "api", 0, 0)]
    [entry] = status("subscribed", "unsubscribed", at=None)
    assert (entry.said_lo, entry.said_hi, entry.key, entry.evidence) == (BEFORE, NOW, "k", "ev")


def test_a_complaint_means_all_mail() -> None:
    assert what(status("subscribed", "unsubscribed", "complaint")) == [(OUT_ALL, "complaint", 1, 0)]


@pytest.mark.parametrize(("old", "new", "origin", "at", "expected"), [
    ("unsubscribed", "subscribed", "person", NOW - 5, [(IN_OFFERS, "person", 1, 0)]),
    ("pending", "subscribed", "person", NOW - 5, [(IN_OFFERS, "confirmed", 1, 0)]),
    ("unsubscribed", "subscribed", "person", None, []),
    ("unsubscribed", "subscribed", "api", NOW - 5, []),
    ("unsubscribed", "subscribed", "user", NOW - 5, []),
    ("unsubscribed", "subscribed", "send", NOW - 5, []),
    (None, "pending", "import", NOW - 5, [(("topic", "offers", "pending"), "import", 0, 0)]),
])
def test_only_the_person_comes_back(old: str, new: str, origin: str, at: int | None, expected: list[Any]) -> None:
    assert what(status(old, new, origin, at=at)) == expected


@pytest.mark.parametrize("new", [s for s in STATUSES if s not in ("unsubscribed", "subscribed", "pending")])
@pytest.mark.parametrize("origin", ORIGINS)
def test_statuses_about_the_address_say_nothing_of_the_wish(new: str, origin: str) -> None:
    assert status("subscribed", new, origin) == []


def test_echoes_and_unknown_lists_say_nothing() -> None:
    assert status("subscribed", "unsubscribed", "self") == []
    assert status("subscribed", "unsubscribed", container="somebody else's") == []


def test_what_is_found_at_a_first_link_was_said_at_any_time_before() -> None:
    [entry] = status(None, "unsubscribed", "unknown", since=None)
    assert (what([entry]), entry.said_lo, entry.said_hi) == ([(OUT_OFFERS, "unknown", 0, 1)], None, NOW - 5)
    assert status(None, "subscribed", since=None) == []
    assert what(status(None, "subscribed", "import", container="L9", since=None)) == [
        (IN_OFFERS, ("topic", "news", "opt_in"), "adopted", 0, 1)]


# --------------------------------------------------------------------------- events

def event(kind: str, *, container: str | None = "L1", send: str | None = None, at: int | None = NOW - 5,
          sends: dict[str, Send] | None = None,
          first: bool = False) -> tuple[list[tuple[Any, ...]], list[str], list[NewEntry]]:
    event = Event("e1", kind, container, send, "k", 70, at, "ref", 7)
    entries, unresolved = from_events(KNOWN, [event], sends=sends or {}, now=NOW, first=first)
    return what(entries), unresolved, entries


@pytest.mark.parametrize(("kind", "expected"), [
    ("unsubscribe", [(OUT_OFFERS, "unsubscribe", 1, 0)]), ("master_unsubscribe", [(OUT_ALL, "unsubscribe", 1, 0)]),
    ("complaint", [(OUT_ALL, "complaint", 1, 0)]), ("resubscribe", [(IN_OFFERS, "resubscribe", 1, 0)]),
    ("hard_bounce", []), ("soft_bounce", [])])
def test_events_by_kind(kind: str, expected: list[Any]) -> None:
    assert kind in EVENT_KINDS
    assert event(kind)[0] == expected


def test_an_event_that_names_only_its_send_means_what_was_sent() -> None:
    sends = {"s1": Send("s1", None, None, frozenset({"L9"}), frozenset(), None, None)}
    assert event("unsubscribe", container=None, send="s1", sends=sends)[0] == [
        (OUT_OFFERS, ("topic", "news", "opt_out"), "unsubscribe", 1, 0)]
    assert event("unsubscribe", container=None, send="s2")[:2] == ([(OUT_ALL, "unsubscribe", 1, 0)], ["s2"])


def test_an_event_nobody_understands_is_listed_and_means_all_mail() -> None:
    assert event("unsubscribe", container="elsewhere")[:2] == ([(OUT_ALL, "unsubscribe", 1, 0)], ["list elsewhere"])


def test_what_was_left_before_the_link_by_another_list_says_nothing_about_ours() -> None:
    assert event("unsubscribe", container="elsewhere", send="s2", first=True)[:2] == ([], [])


def test_nothing_is_said_after_it_was_read_and_a_return_must_be_dated() -> None:
    [entry] = event("unsubscribe", at=NOW + 99)[2]
    assert (entry.said_lo, entry.said_hi) == (NOW, NOW)
    [entry] = event("unsubscribe", at=None)[2]
    assert (entry.said_lo, entry.said_hi) == (NOW, NOW)
    [entry] = event("resubscribe")[2]
    assert entry.knew == (NOW - 5, NOW - 5 - CLOCK_TOLERANCE), "what happened here is dated by the same clock"
    assert event("resubscribe", at=None)[0] == []
