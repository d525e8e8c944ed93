"""Which account each connection is about. Record ids, subscriber keys, cursors and targets are those of one account: read in
another one, they would be other people's, and so would their opt-outs. So a connection stays with the account it met first,
until an admin says that the new one holds the same people (docs/decisions/0025-one-account.md).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path

from connectors.base import Account
from connectors.errors import AnotherAccount
from state import accounts, db
from state.accounts import Kept
from state.store import Store


class Accounts:
    """Lets logins pass that lead where everything stored came from. Thread-safe.

    :param roles: of the connections, by name
    """

    def __init__(self, store: Store, roles: Mapping[str, str]) -> None:
        self._store = store
        self._roles = roles
        self._passed: dict[str, Account] = {}
        self._lock = threading.Lock()

    def judge(self, name: str, account: Account) -> None:
        """See ``Connector.watch``. The first account is remembered; so is what the vendor tells of the same one later.

        :raises AnotherAccount: it is not the one that is remembered
        """
        if self._passed.get(name) == account:
            return
        with self._lock:
            self._store.connection(name, self._roles[name])
            with self._store.reading() as conn:
                kept = accounts.kept(conn, name)
            if (refusal := self._renamed(name, kept, account)) is not None:
                raise refusal
            if kept is not None and (refusal := differing(name, kept, account)) is not None:
                self._passed.pop(name, None)
                if kept.elsewhere != str(account):
                    self._store.write(lambda conn: accounts.refuse(conn, name, str(account)))
                raise refusal
            # An account that is not told now may have been told before, and be told again.
            id_ = account.id or (kept.account if kept is not None and kept.used else "") or ""
            if kept is None or (kept.account, kept.place, kept.elsewhere) != (id_, account.place, None):
                self._store.write(lambda conn: accounts.keep(conn, self._store.book, name, id_, account.place))
            self._passed[name] = account


    def _renamed(self, name: str, kept: Kept | None, account: Account) -> AnotherAccount | None:
        with self._store.reading() as conn:
            return renamed(conn, name, kept, account, self._roles)


def renamed(conn: db.Connection, name: str, kept: Kept | None, account: Account, named: Collection[str],
            ) -> AnotherAccount | None:
    """The error of a connection that is new by its name alone: all that is stored of its account is another's, which is not
    among those that are ``named`` any more. Its records would come once more as other people's, and who refused would be the
    people of before: they would take nothing along to another address."""
    if remembered(kept) is not None:
        return None
    for other, *_ in accounts.all_of(conn):
        before = None if other in named else remembered(accounts.kept(conn, other))
        if before is not None and before.is_same(account):
            error = AnotherAccount(
                f"This is the account that {other} was about: {account}. Under another name its people would be taken for"
                " other people, without what they refused, so nothing is read or written.",
                remedy=f"Call the connection {other} again, in syncd.yaml and in the mapping.", code="renamed_connection")
            error.connection = name
            return error
    return None


def remembered(kept: Kept | None) -> Account | None:
    """The account that a connection is about; None before the first contact, or where that left nothing behind."""
    if kept is None or not kept.used or kept.place is None:
        return None
    return Account(kept.account or "", kept.place)


def differing(name: str, kept: Kept | None, account: Account) -> AnotherAccount | None:
    """The error of a connection that leads to another account than the one it is about; None where all is well."""
    before = remembered(kept)
    if before is None or before.is_same(account):
        return None
    error = AnotherAccount(
        f"This is another account: {account}. All that is stored of {name} is of {before}; its ids would be other people's"
        " here, so nothing is read or written.",
        remedy=f"Correct the connection in syncd.yaml. If it holds the same people under the same ids:"
        f" `syncd connections accept {name} --same-people`. If not, give it a name of its own.", code="another_account")
    error.connection = name
    return error


def compare(state: Path, name: str, account: Account, named: Collection[str]) -> None:
    """The same by a state that somebody else may have open. ``named``: the connections there are.

    :raises AnotherAccount:
    """
    try:
        with closing(db.connect(state, read_only=True)) as conn:
            kept = accounts.kept(conn, name)
            error = renamed(conn, name, kept, account, named) or differing(name, kept, account)
    except db.Error:
        return  # there is no state yet, or it is damaged, which something else says
    if error is not None:
        raise error
