"""Records of people who are to be forgotten. Odoo has no mark for it, so the rule is what its own privacy tool does, with
the ways to reach the person taken out: a record is archived, where it can be, and its address and numbers are emptied."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.batches import Progress
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.describe import Meta
from syncd.model import DONE, Op, Outcome

REACHES = ("email", "email_from", "email_cc", "phone", "mobile")
"""Fields by which a person can be reached, at one model or another."""


def erasing(delete: bool) -> str:
    """What ``erase`` does to a record."""
    return ("deletes it, with its messages and, at a mailing contact, its subscriptions" if delete else
            "archives it, where it can be archived, and empties its address and phone numbers")


def erase(wire: Wire, meta: Meta, model: str, keys: Sequence[str], *, delete: bool) -> list[Outcome]:
    """One outcome per record. A record that is gone is done.

    :raises ConnectorError: nothing was written
    """
    fields = meta.fields(model)
    there = {r["id"] for r in wire.search_read(model, [["id", "in", [int(k) for k in keys]]], ["id"])}
    progress = Progress([Op(n, key, None, ()) for n, key in enumerate(keys)])
    owners = {int(key): [n] for n, key in enumerate(keys) if int(key) in there}
    for n, key in enumerate(keys):
        if int(key) not in there:
            progress.outcomes[n] = DONE
    empty = {name: False for name in REACHES if name in fields and fields[name].get("store", True)
             and not fields[name].get("readonly") and not fields[name].get("required")}
    archived = {"active": False} if "active" in fields else {}

    def send(ids: Sequence[int]) -> None:
        if delete:
            wire.call(model, "unlink", ids, write=True)
        else:
            wire.write(model, ids, {**archived, **empty})
    return progress.run(lambda: progress.attempt(list(owners), owners.__getitem__, send, final=True))
