"""People deleted at Marketing Cloud, and the journal written anew: the two places where a forgotten person is hardest to get
out of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.base import Eraser
from connectors.errors import Misconfigured
from connectors.sim.kernel import Response
from connectors.wrappers import Retrying, Wrapper
from state import journal, ledger
from state.journal import Gone, Journal
from syncd.model import DONE
from tests.unit.marketing_cloud_lab import ENTERPRISE, MID, World, retrieved, scripted, simulated
from tests.unit.state_lab import HASHED, NOW, StateLab, contact

UNIT = f"<ID>{MID}</ID><ParentID>{ENTERPRISE}</ParentID><Name>Main</Name>"


@pytest.fixture
def world() -> Iterator[World]:
    with simulated() as made:
        yield made


# --------------------------------------------------------------------------- Marketing Cloud

def test_a_contact_is_suppressed_at_once_and_gone_when_the_days_are_over(world: World) -> None:
    first, second = world.connector.erase(["k1", "nobody"])
    assert (first.state, second) == ("accepted", first)
    assert first.request_id is not None
    assert world.connector.erased(first.request_id) is None
    assert world.tenant.find("k1") is None
    assert "k1" in world.tenant.subscribers
    world.kernel.clock.advance(3 * 86_400)
    assert world.connector.erased(first.request_id) == DONE
    assert "k1" not in world.tenant.subscribers
    assert world.on_list("k0") is not None
    assert world.connector.erase([]) == []


def test_asked_twice_nothing_else_goes(world: World) -> None:
    again = [world.connector.erase(["k1"])[0].request_id for _ in range(2)]
    world.kernel.clock.advance(3 * 86_400)
    assert [world.connector.erased(str(request)) for request in again] == [DONE, DONE]
    assert sorted(world.tenant.subscribers) == ["k0", "k2", "k3", "k4"]


@pytest.mark.parametrize(("first", "second", "end"), [
    ("Completed", ["Completed"], "done"), ("Completed", [], None), ("Completed", ["Processing"], None),
    ("Processing", ["Completed"], None), ("Completed", ["Aborted"], "rejected"), ("Failed", [], "rejected"),
    ("Completed", ["Completed", "Processing"], None), ("Completed", ["Invalid"], "rejected")])
def test_only_both_phases_completed_are_the_end(first: str, second: list[str], end: str | None) -> None:
    with scripted() as (script, connector):
        script.answers = [retrieved(UNIT), Response(200, {
            "operation": {"status": first},
            "backgroundOperationsSummary": [{"backgroundOperationStatusID": word} for word in second]})]
        outcome = connector.erased("7")
        assert (outcome.state if outcome else None) == end
        assert script.asked[-1].query["operationID"] == "7"
        assert orjson.loads(script.logins[-1].body)["account_id"] == ENTERPRISE


def test_a_refused_deletion_is_told_without_the_key() -> None:
    with scripted() as (script, connector):
        script.answers = [retrieved(UNIT), Response(200, {"operationInitiated": False, "hasErrors": True})]
        (outcome,) = connector.erase(["ann@mail.example"])
        assert outcome.state == "rejected"
        assert "ann" not in str(outcome)


def test_a_connector_that_deletes_nobody_says_so() -> None:
    class Plain(Wrapper):
        @property
        def capabilities(self) -> Any:
            from connectors.base import Capabilities

            return Capabilities(batch={})

    wrapped = Retrying(Plain(None), stop=threading.Event())  # type: ignore[arg-type]  # nothing is asked of it
    assert isinstance(wrapped, Eraser)
    with pytest.raises(Misconfigured, match="deletes nobody"):
        wrapped.erase(["k"])


# --------------------------------------------------------------------------- the journal

@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    made = StateLab(tmp_path)
    made.put(contact(1), contact(2))
    yield made
    made.close()


def test_blanks_keep_every_position_and_tell_nothing(lab: StateLab) -> None:
    path = lab.store.path.parent / "j.log"
    lab.say("opt_out", record=1, evidence="mail of c1@mail.example")
    lab.say("opt_in", record=2)
    lab.say("opt_out", email="c1@mail.example")
    before = journal.read(path, 0)
    lab.store.rewrite_journal(Gone(frozenset(), frozenset({HASHED("c1@mail.example").hex()}), frozenset({("mc", "c1")})))
    after = journal.read(path, 0)
    assert [line.position for line in after] == [1, 2, 3]
    assert after[1] == before[1]
    assert [(after[i].rid, after[i].hash, after[i].evidence, after[i].spoken[4]) for i in (0, 2)] == [
        (None, None, None, "[]")] * 2
    assert b"c1" not in path.read_bytes()
    assert not path.with_name("j.log.part").exists()
    lab.say("opt_in", record=2)
    assert [line.position for line in journal.read(path, 0)] == [1, 2, 3, 4], "what follows goes into the new file"


def test_lines_appended_meanwhile_are_taken_along(tmp_path: Path) -> None:
    told = Journal(tmp_path / "j.log")
    words = [[1, "mc", "person", 1, 0, '[["master",null,"opt_out"]]', "email", "marketing", None, None]]
    told.append([1, words, [[1, "c1", None, None, None, NOW, None, None, None, NOW]]])
    told.append({"inbox": ["mc", "00", NOW, [["unsubscribe", NOW, None, None, None, "k9", None, None, None],
                                           ["unsubscribe", NOW, None, None, None, "k1", None, None, None]]]})
    gone = Gone(frozenset(), frozenset(), frozenset({("mc", "c1"), ("mc", "k1")}))
    end = told.copy_without(gone)
    told.append([2, words, [[1, "c1", None, None, None, NOW, None, None, None, NOW],
                            [1, "c2", None, None, None, NOW, None, None, None, NOW]]])
    told.replace(gone, end)
    told.close()
    assert [line.rid for line in journal.read(tmp_path / "j.log", 0)] == [None, None, "c2"]
    text = (tmp_path / "j.log").read_bytes()
    assert b"k9" in text
    assert b"k1" not in text


def test_the_chain_holds_without_the_erased_parts(lab: StateLab) -> None:
    lab.say("opt_out", record=1)
    lab.say("opt_in", record=2)
    lab.store.write(lambda conn: conn.execute(
        "UPDATE entry SET salt = NULL, utterance = NULL, record = NULL, said_hi = NULL, seen_at = NULL"
        " WHERE position = 1").rowcount)
    with lab.store.reading() as conn:
        assert ledger.verify(conn) == (2, [])
    lab.store.write(lambda conn: conn.execute("UPDATE entry SET commitment = zeroblob(32) WHERE position = 1").rowcount)
    with lab.store.reading() as conn:
        assert ledger.verify(conn)[1], "what is erased cannot be replaced by something else"
