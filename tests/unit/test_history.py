"""What field history tells about a changed flag, and what the flag then says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from state.ledger import NewEntry
from state.relations import FlagDef, SourceDef
from syncd.consent import CLOCK_TOLERANCE
from syncd.history import TOLERANCE, Told, moved, told
from syncd.statements import Requests, from_flags
from tests.unit.state_lab import each

MASTER = FlagDef("Out", None, {1: "opt_out", 0: "unknown", None: "unknown"}, {"opt_out": 1, "opt_in": 0})
NEWS = FlagDef("News", "news", {"Yes": "opt_in", "No": "opt_out"}, {"opt_in": "Yes", "opt_out": "No"}, "NewsAt", "NewsHow",
               "1")
SOURCE = SourceDef(7, "sf.Contact", 0, {}, flags=(MASTER, NEWS))
HOUR = 3_600_000_000
SINCE, AT, NOW = 100 * HOUR, 101 * HOUR, 102 * HOUR


def said(out: tuple[Any, Any] = (0, 0), news: tuple[Any, Any] = (None, None),
         past: Mapping[tuple[str, str], Told] | None = None,
         *, fresh: int = 0, since: int | None = SINCE, proof: tuple[Any, Any] = (None, None),
         ) -> tuple[list[NewEntry], Requests]:
    """Entries and requests of record 3 ("003"), whose fields changed (old, new)."""
    row = (3, "003", fresh, 5, b"h", NOW - 1, *out, None, None, 0, *news, proof[0], proof[1], int(proof[0] is not None))
    requests = Requests()
    known = {("003", *key): value for key, value in (past or {}).items()}
    return each(from_flags(SOURCE, [row], connection=1, since=since, now=NOW, requests=requests, past=known)), requests


def words(entry: NewEntry) -> Any:
    return orjson.loads(entry.utterance.said)


def test_without_history_a_flag_was_set_in_the_interval() -> None:
    [entry], requests = said((0, 1))
    assert words(entry) == [["master", None, "opt_out"]]
    assert (entry.said_lo, entry.said_hi, entry.evidence) == (SINCE, NOW - 1, None)
    assert requests.withdrawn == [(3, "Out")]


def test_with_history_it_was_set_at_that_instant_by_somebody() -> None:
    [entry], _ = said((0, 1), past={("Out", "1"): Told(AT, "user")})
    assert (entry.said_lo, entry.said_hi, entry.evidence) == (AT, AT, "history:user")
    assert (entry.utterance.method, entry.utterance.person_made, entry.knew) == ("flag", 0, None)


def test_flags_set_at_different_instants_are_different_entries() -> None:
    entries, _ = said((0, 1), ("Yes", "No"), {("Out", "1"): Told(AT, "user"), ("News", "No"): Told(AT + 1, "user")})
    assert [(words(e)[0][0], e.said_hi) for e in entries] == [("master", AT), ("topic", AT + 1)]
    [entry], _ = said((0, 1), ("Yes", "No"), {("Out", "1"): Told(AT, "user"), ("News", "No"): Told(AT, "user")})
    assert len(words(entry)) == 2


def test_a_server_ahead_of_us_said_nothing_in_the_future() -> None:
    [entry], _ = said((0, 1), past={("Out", "1"): Told(NOW + HOUR, "user")})
    assert (entry.said_lo, entry.said_hi) == (NOW, NOW)


@pytest.mark.parametrize("by", ["user", "api", "import", "unknown", "person"])
def test_everybody_else_means_it(by: str) -> None:
    entries, requests = said((0, 1), past={("Out", "1"): Told(AT, by)})
    assert len(entries) == 1
    assert not requests.echoes


def test_a_flag_that_connect_set_is_an_echo_and_kept_as_one() -> None:
    entries, requests = said((0, 1), ("Yes", "No"), {("Out", "1"): Told(AT, "connect")})
    assert [words(e) for e in entries] == [[["topic", "news", "opt_out"]]]
    assert requests.echoes == [(3, "Out", AT)]
    assert (3, "Out") in requests.withdrawn
    assert requests.overwritten == [(3, "News")]


def test_a_flag_that_we_set_says_nothing_at_all() -> None:
    for change in ((0, 1), (1, 0)):
        entries, requests = said(change, past={("Out", str(change[1])): Told(AT, "self")})
        assert (entries, requests.found, requests.withdrawn, requests.echoes) == ([], [], [], [])


def test_connect_clearing_the_flag_asks_for_nothing() -> None:
    assert said((1, 0))[1].found == [(3, "Out")]
    entries, requests = said((1, 0), past={("Out", "0"): Told(AT, "connect")})
    assert (entries, requests.found, requests.echoes) == ([], [], [])


def test_an_opt_in_with_evidence_counts_whoever_saved_it() -> None:
    for by in ("user", "connect", "self"):
        [entry], _ = said(news=("No", "Yes"), past={("News", "Yes"): Told(AT, by)}, proof=(AT - 5, "web"))
        assert words(entry) == [["topic", "news", "opt_in"]]
        assert (entry.said_lo, entry.knew) == (AT - 5, (AT - 5 - CLOCK_TOLERANCE,) * 2)


def test_history_of_another_value_or_of_a_baseline_or_a_new_record_is_not_used() -> None:
    assert said((0, 1), past={("Out", "0"): Told(AT, "connect")})[0][0].said_lo == SINCE
    [entry], requests = said((None, 1), past={("Out", "1"): Told(AT, "connect")}, fresh=1)
    assert (entry.said_lo, requests.echoes) == (SINCE, [])
    [entry], _ = said((None, 1), past={("Out", "1"): Told(AT, "connect")}, fresh=1, since=None)
    assert (entry.said_lo, entry.utterance.baseline) == (None, 1)


# --------------------------------------------------------------------------- what history tells

def change(new: Any, at: int, by: str, field: str = "Out") -> tuple[Any, ...]:
    return ("003", field, None, new, at, by)


def test_the_last_change_to_a_value_counts() -> None:
    assert told([change(1, AT, "user"), change(1, AT + 9, "api"), change(0, AT + 5, "user")], SINCE) == {
        ("003", "Out", "1"): Told(AT + 9, "api"), ("003", "Out", "0"): Told(AT + 5, "user")}


def test_a_word_does_not_hide_behind_an_echo() -> None:
    rows = [change(1, AT, "user"), change(0, AT + 1, "user"), change(1, AT + 2, "connect")]
    for order in (rows, rows[::-1]):
        assert told(order, SINCE)["003", "Out", "1"] == Told(AT, "user")


def test_what_was_known_at_the_last_poll_is_not_told_again() -> None:
    assert told([change(1, SINCE - TOLERANCE, "user")], SINCE) == {}
    assert told([change(1, SINCE - TOLERANCE + 1, "user")], SINCE) != {}


@pytest.mark.parametrize(("before", "after", "expected"), [
    ((0, None), (1, None), True), ((1, None), (0, None), True), ((0, "Yes"), (0, "No"), True), ((0, None), (0, "No"), True),
    ((0, "No"), (0, None), True), ((1, "No"), (1, "No"), False), ((0, "Yes"), (0, "Yes"), False),
    ((None, None), (0, None), False), ((None, None), (0, "Yes"), False), ((0, "Other"), (0, None), False)])
def test_only_records_whose_flags_mean_something_else_are_asked_about(
        before: tuple[Any, Any], after: tuple[Any, Any], expected: bool) -> None:
    """A flag that was just added to the mapping is empty everywhere: only what stops mail is worth a question."""
    assert moved(SOURCE, [("003", *before)], {"003": after}) == (["003"] if expected else [])
