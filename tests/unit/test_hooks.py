"""What is answered to a delivery, and in which order: stored for good, then acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from connectors.base import Received, Refused
from state import addresses, db, inbox
from state.store import Store
from syncd.model import Notice
from syncd.web.hooks import Callback, Hooks, Result

NOW = 1_800_000_000_000_000
SAID = Notice("unsubscribe", NOW, "4711", "118", None, "K1", "Anna@Mail.example", "told")


class Vendor:
    """A translator: the body is what becomes of it."""

    def receive(self, headers: Mapping[str, str], body: bytes, now: int) -> Received:
        match body.split(b" ")[0]:
            case b"forged":
                raise Refused("forged")
            case b"ask":
                return Received(handshake={"callbackId": "1"})
            case b"other":
                return Received()
        return Received((SAID,))


class Desk:
    """Hooks over a real state, and what they told."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "journal.log"
        self.store = Store(directory / "s.db", journal=self.journal)
        self.told: list[object] = []
        self.hooks = Hooks(self.store, lambda address: address.encode()[:8], lambda: NOW, self,
                           wake=lambda: self.told.append("wake"), ask=lambda name, words: self.told.append(words),
                           failpoint=self.told.append)
        self.hooks.callbacks = {("mc", "unsubs"): Callback(self.store.connection("mc", "esp"), Vendor())}

    def refused(self, connection: str, callback: str, result: Result, count: int) -> None:
        self.told.append((result, count))

    def failed(self, connection: str, callback: str, error: BaseException) -> None:
        self.told.append(type(error).__name__)

    def send(self, body: bytes, *, json: bool = True) -> int | None:
        return self.hooks.deliver("mc", "unsubs", {}, body, json)

    def waiting(self) -> list[inbox.Delivery]:
        with self.store.reading() as conn:
            return inbox.waiting(conn, 1, 100)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_delivery_is_stored_once_and_its_address_is_not_in_the_journal(desk: Desk) -> None:
    assert [desk.send(b"1"), desk.send(b"1"), desk.send(b"2")] == [204, 204, 204]
    assert [e.notice.email for d in desk.waiting() for e in d.events] == ["anna@mail.example"] * 2
    assert desk.told == ["received", "committed", "wake"] * 3
    journal = desk.journal.read_text()
    assert journal.count('"inbox"') == 2
    assert "@" not in journal
    assert desk.hooks.counts() == {("mc", "unsubs", "stored"): 2, ("mc", "unsubs", "repeated"): 1}


def test_of_somebody_forgotten_only_the_hash_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.store.write(lambda c: c.execute("UPDATE address SET forgotten = 1 WHERE id = ?",
                                         (addresses.known(c, b"anna@mai"),)).rowcount)
    told = (SAID, SAID._replace(email=None, key="ANNA@mail.example"), SAID._replace(email="bo@x.example"))
    for number, said in enumerate(told):
        monkeypatch.setattr(Vendor, "receive", lambda *_, said=said: Received((said,)))
        assert desk.send(str(number).encode()) == 204
    kept = [(e.notice.key, e.notice.email, e.hash) for d in desk.waiting() for e in d.events]
    anna, bo = b"anna@mai".hex(), b"bo@x.exa".hex()
    assert kept == [("K1", None, anna), (None, None, anna), ("K1", "bo@x.example", bo)]
    assert "@" not in desk.journal.read_text()


def test_what_is_refused_or_no_concern_of_ours_leaves_nothing(desk: Desk) -> None:
    assert [desk.send(b"forged"), desk.send(b"ask"), desk.send(b"other")] == [403, 200, 204]
    assert desk.send(b"1", json=False) == 415
    assert desk.hooks.deliver("mc", "other", {}, b"1", True) is None
    assert desk.waiting() == []
    assert ("forged", 1) in desk.told
    assert {"callbackId": "1"} in desk.told
    assert "wake" not in desk.told


def test_what_the_state_or_the_journal_cannot_store_is_not_acknowledged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(line: object) -> None:
        raise OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(desk.store.journal, "append", full)
        assert desk.send(b"1") == 503
    assert desk.told[-1] == "OSError"
    assert desk.waiting() == []

    def broken(*arguments: object, **options: object) -> bool:
        raise db.OperationalError("database or disk is full")
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "receive", broken)
        assert desk.send(b"1") == 503
    assert desk.send(b"1") == 204
    assert len(desk.waiting()) == 1


def test_a_delivery_does_not_wait_for_ever_for_the_state(desk: Desk) -> None:
    running, gate = threading.Event(), threading.Event()
    blocked = threading.Thread(target=lambda: desk.store.write(lambda conn: running.set() or gate.wait(10)))
    blocked.start()
    running.wait()
    with pytest.raises(TimeoutError):
        desk.store.write(lambda conn: None, urgent=True, timeout=0.05)
    gate.set()
    blocked.join()


def test_the_journal_gives_back_what_a_state_lacks_and_forgets_what_was_resolved(desk: Desk, tmp_path: Path) -> None:
    desk.send(b"1")
    desk.send(b"2")
    first = desk.waiting()[0]
    desk.store.write(lambda conn: inbox.resolve(conn, desk.store.book, [first], NOW))
    notes = desk.store.journal.notes()
    other = Store(tmp_path / "other.db")
    other.connection("mc", "esp")
    assert other.write(lambda conn: inbox.restore(conn, notes)) == 1
    assert other.write(lambda conn: inbox.restore(conn, notes)) == 0
    rows = other.rows("SELECT notices IS NULL, resolved_at FROM inbox ORDER BY id")
    assert rows == [(1, NOW), (0, None)]
    with other.reading() as conn:
        [left] = inbox.waiting(conn, 1, 10)
    assert left.events[0].notice.email is None
    assert left.events[0].hash == b"anna@mai".hex()
    assert other.write(lambda conn: inbox.expire(conn, NOW + inbox.REMEMBERED + 1)) == 2
    other.close()
