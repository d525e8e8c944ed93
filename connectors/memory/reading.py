"""Pages of a world's streams: what a connection's listings and increments look like on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from connectors.memory.account import Account
from connectors.memory.faults import Fault
from connectors.memory.sides.crm import Crm, record_rows
from connectors.memory.sides.esp import Esp, State, block_key
from connectors.memory.sides.table import BadCall, Table
from syncd.model import Value

Row = TypeVar("Row")
Numbered = tuple[int, str, Sequence[Value]]
Hidden = set[tuple[str | None, str | None]]


def read(account: Account, seq: int, args: Mapping[str, Any], hidden: Hidden, cut: Fault | None) -> dict[str, Any]:
    """One page.

    :param args: ``spec`` (object, kind, fields, container, ids_only), ``after`` (a change number, or with ids_only the
        last id), ``limit``, and for listings from the start ``seen``: rows already delivered
    :return: ``rows``; ``after`` for the next page; ``stable``: up to there no change can still turn up; ``last``;
        ``total``: rows there are now; ``rights``: changes when other records become visible
    """
    spec, seen = args["spec"], args.get("seen")
    consent = spec["kind"] in ("status", "event", "send")
    if consent:
        seq = _esp(account).stable()
    elif spec["kind"] in ("record", "history"):
        seq = _crm(account).stable()
    if spec["ids_only"]:
        ids = _ids(account, spec, args["after"])
        page: list[Numbered] = [(0, key, (key,)) for key in ids[:args["limit"]]]
        last = len(ids) <= args["limit"]
    else:
        rows = _rows(account, spec, args["after"] or 0, hidden)
        page = list(islice((row for row in rows if not consent or row[0] <= seq), args["limit"] + 1))
        last = len(page) <= args["limit"]
        page = page[:args["limit"]]
    total = len(_ids(account, spec, None)) if last and seen is not None else None
    if cut is not None and seen is not None and seen + len(page) >= cut.rows:
        page, last = page[:max(0, cut.rows - seen)], True
        total = seen + len(page) if cut.silent else len(_ids(account, spec, None))
    after = args["after"] if not page else page[-1][1] if spec["ids_only"] else page[-1][0]
    return {"rows": [row for _, _, row in page], "after": after, "stable": seq, "last": last, "total": total,
            "rights": account.rights}


def read_keys(account: Account, spec: Mapping[str, Any], keys: Sequence[str], hidden: Hidden) -> list[Sequence[Value]]:
    """The rows of these keys as they are now; a status stream also finds address-only statements by their address."""
    wanted = set(keys)
    if spec["ids_only"]:
        return [(key,) for key in _ids(account, spec, None) if key in wanted]
    if spec["kind"] == "status":
        wanted |= {block_key(key) for key in keys if "@" in key}
    if account.crm is not None:
        for key in keys:
            account.crm.commit(only=key)
    return [row for _, key, row in _rows(account, spec, 0, hidden, wanted) if key in wanted]


def _rows(account: Account, spec: Mapping[str, Any], after: int, hidden: Hidden,
          only: set[str] | None = None) -> Iterator[Numbered]:
    kind, name, fields = spec["kind"], spec["object"], spec["fields"]
    if kind == "record":
        crm = _crm(account)
        about = crm.object(name)
        _known(name, fields, about.fields, hidden)
        return record_rows(_some(about.records, after, only), fields, deletes=account.options.deletes_visible,
                           merges=account.options.merges_visible, hidden=crm.hidden)
    if kind == "history":
        about = _crm(account).object(name)
        _known(name, fields, about.fields, hidden)
        rows = about.history.since(after)
        return ((n, str(row[0]), row) for n, _, row in rows if not fields or row[1] in fields)
    esp = _esp(account)
    if kind == "status":
        container = spec["container"] or ""
        return ((n, key, _status_row(container, s)) for n, key, s in _some(esp.container(container), after, only))
    if kind == "event":
        return ((n, key, row) for n, key, row in _some(esp.events, after, only))
    if kind == "send":
        return ((n, key, row) for n, key, row in _some(esp.sends, after, only))
    audience = esp.audience(name)
    _known(name, fields, audience.fields, hidden)
    places = [list(audience.fields).index(field) for field in fields]
    return ((n, key, [key, email, *(values[place] for place in places)])
            for n, key, (email, values) in _some(audience.rows, after, only))


def _some(table: Table[Row], after: int, only: set[str] | None) -> Iterator[tuple[int, str, Row]]:
    """The rows after a change number, or just the ones of ``only``."""
    if only is None:
        return table.since(after)
    return ((0, key, table.rows[key]) for key in sorted(only) if key in table.rows)


def _ids(account: Account, spec: Mapping[str, Any], after: str | None) -> list[str]:
    """All ids of a stream that this account may see, after ``after``, in order. Deleted records are not listed."""
    kind, name = spec["kind"], spec["object"]
    ids: Iterable[str]
    if kind == "record":
        crm = _crm(account)
        tombstones = account.options.deletes_visible and not spec["ids_only"]
        ids = [key for key, r in crm.object(name).records.rows.items()
               if key not in crm.hidden and (tombstones or not r.deleted)]
    elif kind == "history":
        ids = _crm(account).object(name).history.rows
    elif kind == "status":
        ids = _esp(account).container(spec["container"] or "").rows
    elif kind == "event":
        ids = _esp(account).events.rows
    elif kind == "send":
        ids = _esp(account).sends.rows
    else:
        ids = _esp(account).audience(name).rows.rows
    return sorted(key for key in ids if after is None or key > after)


def _status_row(container: str, state: State) -> Sequence[Value]:
    return container, state.key, state.email, state.status, state.at, state.origin, state.evidence


def _known(name: str, fields: Sequence[str], known: Mapping[str, Any], hidden: Hidden) -> None:
    for field in fields:
        if field not in known or (name, field) in hidden:
            raise BadCall(f"Object {name} has no field {field} that this account may read.")


def _crm(account: Account) -> Crm:
    if account.crm is None:
        raise BadCall("This connection is no CRM.")
    return account.crm


def _esp(account: Account) -> Esp:
    if account.esp is None:
        raise BadCall("This connection holds no statuses.")
    return account.esp
