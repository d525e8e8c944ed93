"""Which account each connection is about, as an admin sees it, and the admin's word that another one holds the same people.
``syncd.accounts`` stops a connection that leads elsewhere."""

from __future__ import annotations

import threading
from contextlib import closing

from mappings.problems import did_you_mean
from state import accounts
from syncd import compose
from syncd.accounts import differing, remembered
from syncd.desk.instance import Instance
from syncd.desk.views import Json
from syncd.failures import USAGE, Failure


def survey(instance: Instance) -> Json:
    """Every connection with its account, and with the other one it leads to, if it does."""
    with instance.store.reading() as conn:
        return {"connections": [
            {"name": name, "role": role, "account": account or None, "place": place, "elsewhere": elsewhere}
            for name, role, account, place, elsewhere in accounts.all_of(conn)]}


def accept(instance: Instance, connection: str) -> Json:
    """Take the account that a connection leads to now for the one it was about: it holds the same people, under the same
    ids. Everything there is read again.

    :raises Failure: there is no such connection, or nothing to accept
    :raises ConnectorError: it cannot be asked
    """
    config, store = instance.config, instance.store
    if connection not in config.connections:
        raise Failure(USAGE, f'there is no connection "{connection}".', next=did_you_mean(connection, config.connections))
    with closing(compose.connectors(config, threading.Event())[connection]) as connector:
        account = connector.login()
    with store.reading() as conn:
        kept = accounts.kept(conn, connection)
    before = remembered(kept)
    if before is None or kept is None or differing(connection, kept, account) is None:
        raise Failure(USAGE, f"{connection} leads where it always did: {account}.", next="There is nothing to accept.")
    store.write(lambda conn: accounts.accept(conn, store.book, connection, account.id, account.place))
    return {"connection": connection, "was": str(before), "account": str(account)}
