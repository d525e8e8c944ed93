"""Which account of its vendor each connection is about: what is stored of it, ids above all, means nothing in another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from state import db
from state.ledger import Book
from state.queries import load


class Kept(NamedTuple):
    """What is remembered of a connection: what the vendor calls its account ("" where it does not tell) and where that was
    reached; None before the first contact. ``elsewhere`` names another account it led to. ``used``: something was read
    there, written or heard."""

    account: str | None
    place: str | None
    elsewhere: str | None
    used: bool


def kept(conn: db.Connection, name: str) -> Kept | None:
    """What is remembered of a connection; None where it is not known yet."""
    row = conn.execute(load("accounts")["kept"], (name,)).fetchone()
    return None if row is None else Kept(row[0], row[1], row[2], bool(row[3]))


def keep(conn: db.Connection, book: Book, name: str, account: str, place: str) -> None:
    """From now on the connection is about this account; the journal knows it, too."""
    before = kept(conn, name)
    if before is None or (before.account, before.place) != (account, place):
        book.note({"account": [name, account, place]})
    conn.execute(load("accounts")["keep"], (account, place, name))


def refuse(conn: db.Connection, name: str, elsewhere: str) -> None:
    """Remember that the connection leads elsewhere."""
    conn.execute(load("accounts")["refuse"], (elsewhere, name))


def accept(conn: db.Connection, book: Book, name: str, account: str, place: str) -> None:
    """The connection is about this account now. It is to describe itself anew, and everything there is read again."""
    keep(conn, book, name, account, place)
    conn.execute(load("accounts")["read_again"], (name,))
    conn.execute(load("accounts")["forget_description"], (name,))


def all_of(conn: db.Connection) -> list[tuple[str, str, str | None, str | None, str | None]]:
    """(connection, role, account, place, elsewhere) of each connection."""
    rows: list[tuple[str, str, str | None, str | None, str | None]] = conn.execute(load("accounts")["all"]).fetchall()
    return rows


def restore(conn: db.Connection, notes: Iterable[Mapping[str, Any]]) -> None:
    """What the journal noted last of each connection that is known."""
    for name, account, place in (note["account"] for note in notes if "account" in note):
        conn.execute(load("accounts")["keep"], (account, place, name))


def retell(conn: db.Connection, book: Book) -> None:
    """Note once more what is known, for a journal that lost it."""
    for name, _, account, place, _ in all_of(conn):
        if account is not None:
            book.note({"account": [name, account, place]})
