"""What a page of statuses says anew, and who is taken to have set them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state import statuses
from state.statuses import StatusChange
from tests.unit.state_lab import HASHED, NOW, SECOND, StateLab, contact

EMAIL = "c1@mail.example"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def read(lab: StateLab, connection: int, *rows: tuple[Any, ...]) -> list[StatusChange]:
    """A page of (container, key, address, status, at); what it changed."""
    found: list[StatusChange] = []

    def speak(changes: Any) -> list[Any]:
        found.extend(changes)
        return []
    page = [(container, key, email, HASHED(email), status, at, "api", "subscriber")
            for container, key, email, status, at in rows]
    stream = lab.store.stream(connection, "subscribers", "status", "", True).id
    lab.store.write(lambda conn: statuses.store(conn, connection, stream, page, cursor=None, sweep=0, now=NOW,
                                                complete=None, book=lab.store.book, speak=speak))
    return found


@pytest.mark.parametrize(("key", "seconds", "origin"), [
    ("c1", 0, "self"), (EMAIL, 0, "self"), ("c1", 3_600, "api"), (EMAIL, 3_600, "api"), ("c2@mail.example", 0, "api")])
def test_a_stop_that_we_wrote_at_a_sister_account_is_our_own(lab: StateLab, key: str, seconds: int, origin: str) -> None:
    """Both accounts share their subscribers. We stopped all that have the person's address, under whatever key; that it is
    done at the one we do not know yet, and the other tells it."""
    sister = lab.store.connection("mc_second", "esp")
    lab.put(contact(1), contact(2))
    lab.step()
    lab.store.write(lambda conn: conn.execute("INSERT INTO subscriber_key (connection, person, key) SELECT ?, person, rid"
                                              " FROM record", (sister,)).rowcount)
    everything = lab.store.object(lab.esp, "", "container")
    given = {"esp": lab.esp, "object": everything, "now": NOW, "person": lab.persons()["c1"]}

    def stop(conn: Any) -> None:
        conn.execute("INSERT INTO batch (id, connection, object, kind, columns, state, sealed_at)"
                     " VALUES (900, :esp, :object, 'status', '[]', 'sealed', :now)", given)
        conn.executemany("INSERT INTO operation (connection, object, kind, class, person, record, key, columns, payload,"
                         " state, batch, run) VALUES (:esp, :object, 'status', 0, :person, :record, :key, '[]',"
                         " '[\"unsubscribed\"]', 3, 900, 1)",
                         [given | {"key": k, "record": n} for n, k in enumerate(("c1", EMAIL))])
    lab.store.write(stop)
    if seconds:
        lab.store.write(lambda conn: conn.execute("UPDATE operation SET state = 10, closed_at = ?", (NOW,)).rowcount)
    email = EMAIL if key != "c2@mail.example" else key
    [change] = read(lab, sister, ("", key, email, "unsubscribed", NOW + seconds * SECOND))
    assert (change.key, change.origin) == (key, origin)


def test_who_is_held_back_for_bounces_follows_the_statuses(lab: StateLab) -> None:
    lab.put(contact(1), contact(2))
    lab.step()

    def bounce() -> list[str]:
        return [row[0] for row in lab.rows("SELECT email FROM address WHERE undeliverable IS NOT NULL")]
    read(lab, lab.esp, ("", "k", EMAIL, "held", NOW))
    assert bounce() == [EMAIL]
    read(lab, lab.esp, ("", "other", EMAIL, "held", NOW), ("", "k", EMAIL, "subscribed", NOW))
    assert bounce() == [EMAIL], "under the one key it is held back still"
    lab.store.write(lambda conn: conn.execute("DELETE FROM dirty").rowcount)
    read(lab, lab.esp, ("", "other", "c2@mail.example", "held", NOW))
    assert bounce() == ["c2@mail.example"], "the subscriber has another address now"
    assert {row[0] for row in lab.rows("SELECT person FROM dirty")} == set(lab.persons().values())
