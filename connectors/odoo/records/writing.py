"""Writes: fields of records, the blacklist, and opt-outs of mailing lists.

A call of several records is one transaction, so a bad record refuses all of them: it is found by halving. Outcomes
follow the operations, not the answers (a batch of blacklist rows is answered in an order of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from connectors.errors import ConnectorError, LostReply, Misconfigured, RejectRecord
from connectors.odoo.consent.reading import BLACKLIST, Statuses, list_id
from connectors.odoo.records.reading import Meta
from connectors.odoo.wire import errors
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.values import normal_address, to_api
from connectors.shapes import later
from syncd.model import DONE, UNKNOWN, Batch, Op, Outcome

T = TypeVar("T")
BATCH = 500
"""Operations of one batch; creating is fastest between 100 and 500 records a call."""


class Stop(Exception):
    """The rest of the batch is not tried."""


class Progress:
    """What has become of each operation of a batch so far."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = ops
        self.outcomes: list[Outcome | None] = [None] * len(ops)
        self.touched = False
        """Whether a call that writes may have been applied."""

    def open(self) -> list[int]:
        """Positions of the operations nothing is known of yet."""
        return [n for n, outcome in enumerate(self.outcomes) if outcome is None]

    def reject(self, at: Iterable[int], error: RejectRecord) -> None:
        for n in at:
            self.outcomes[n] = Outcome("rejected", f"{error.code}: {error.message}")

    def attempt(self, items: Sequence[T], owners: Callable[[T], Iterable[int]],
                send: Callable[[Sequence[T]], object], *, final: bool = False) -> None:
        """Send the items whose operations are open in one call; halve what is refused until the bad ones are found.
        ``final``: what was sent is done, and not one of several steps.

        :raises Stop: the rest is to be sent again later
        :raises ConnectorError: nothing of the batch was applied
        """
        parts = [[i for i in items if any(self.outcomes[n] is None for n in owners(i))]]
        while parts:
            part = parts.pop(0)
            if not part:
                continue
            try:
                send(part)
                self.touched = True
                for n in (n for i in part for n in owners(i)) if final else ():
                    self.outcomes[n] = DONE
            except RejectRecord as error:
                if len(part) == 1:
                    self.reject(owners(part[0]), error)
                else:
                    parts[:0] = [part[:len(part) // 2], part[len(part) // 2:]]
            except LostReply as error:
                for n in (n for i in part for n in owners(i)):
                    self.outcomes[n] = UNKNOWN
                self.touched = True
                self.put_off(error)
                raise Stop from None
            except ConnectorError as error:
                if not self.touched:
                    raise
                self.put_off(error)
                raise Stop from None

    def put_off(self, error: ConnectorError) -> None:
        """Whatever nothing is known of yet is to be sent again later."""
        for n in self.open():
            self.outcomes[n] = later(error)

    def result(self) -> list[Outcome]:
        """One outcome per operation: what no call refused is done."""
        return [DONE if outcome is None else outcome for outcome in self.outcomes]


class Writes:
    """Applies batches of one connection."""

    def __init__(self, wire: Wire, meta: Meta, statuses: Statuses) -> None:
        self.wire, self.meta, self.statuses = wire, meta, statuses

    def apply(self, batch: Batch) -> list[Outcome]:
        """One outcome per operation, in order."""
        progress = Progress(batch.ops)
        try:
            if batch.kind == "update":
                self._update(batch, progress)
            elif batch.kind == "status":
                self._status(batch, progress)
            else:
                raise Misconfigured(f"Odoo takes no {batch.kind} operations.", code="kind")
        except Stop:
            pass  # every operation has its outcome
        except ConnectorError as error:
            # Raised by a read between two writes, too: what was written then must not be forgotten.
            if not progress.touched:
                raise
            progress.put_off(error)
        return progress.result()

    def _write(self, model: str, ids: Sequence[int], values: Mapping[str, Any]) -> None:
        self._guarded(model, lambda: self.wire.call(
            model, "write", ids, write=True, vals=dict(values), context={"lang": self.wire.settings.lang}))

    def _create(self, model: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._guarded(model, lambda: self.wire.call(
            model, "create", write=True, vals_list=list(rows), context={"lang": self.wire.settings.lang}))

    def _guarded(self, model: str, call: Callable[[], object]) -> None:
        """An AccessError is about one record, unless the account lacks the right altogether."""
        try:
            call()
        except RejectRecord as error:
            if error.code != errors.ACCESS_ERROR or (
                    self.wire.allowed(model, "write") and self.wire.allowed(model, "create")):
                raise
        else:
            return
        raise Misconfigured(f"The account may not write {model}.", code=errors.ACCESS_ERROR,
                            remedy="Give the Odoo user the group that may (syncd check names it).")

    # -- records

    def _update(self, batch: Batch, progress: Progress) -> None:
        """Records with identical values go in one call: a call costs as much as a hundred records in it."""
        infos = [self.meta.one(batch.object, name) for name in batch.columns]
        tags = [self._tags(info, batch, at) for at, info in enumerate(infos)]
        groups: dict[tuple[Any, ...], dict[int, list[int]]] = {}
        for n, op in enumerate(batch.ops):
            if not (op.key.isascii() and op.key.isdigit() and int(op.key) < 2**31):
                progress.reject([n], RejectRecord("The record does not exist.", code="id"))
                continue
            groups.setdefault(op.values, {}).setdefault(int(op.key), []).append(n)
        for values, owners in groups.items():
            self._update_group(batch, infos, tags, values, owners, progress)

    def _update_group(self, batch: Batch, infos: list[Mapping[str, Any]], tags: list[dict[str, int]],
                      values: tuple[Any, ...], owners: dict[int, list[int]], progress: Progress) -> None:
        try:
            vals = {name: to_api(info["type"], value, known) for name, info, known, value
                    in zip(batch.columns, infos, tags, values, strict=True)}
        except RejectRecord as error:
            progress.reject([n for places in owners.values() for n in places], error)
            return
        progress.attempt(list(owners), owners.__getitem__, lambda ids: self._write(batch.object, ids, vals), final=True)

    def _tags(self, info: Mapping[str, Any], batch: Batch, at: int) -> dict[str, int]:
        """Ids by name of the tags this batch sets in a column."""
        if info["type"] != "many2many":
            return {}
        names = sorted({name for op in batch.ops for name in str(op.values[at] or "").split(";") if name})
        rows = self.wire.search_read(info["relation"], [["name", "in", names]], ["name"]) if names else []
        return {r["name"]: r["id"] for r in reversed(rows)}

    # -- statuses

    def _status(self, batch: Batch, progress: Progress) -> None:
        """Opt-outs before everything else of the batch; several operations on one address share its fate."""
        wanted: dict[str, dict[str, list[int]]] = {"unsubscribed": {}, "subscribed": {}}
        for n, op in enumerate(batch.ops):
            status = str(op.values[batch.columns.index("status")])
            spellings = {a for a in (normal_address(text) for text in (op.key, op.email or "")) if a}
            if not spellings or status not in wanted:
                problem = "status" if spellings else "address"
                progress.reject([n], RejectRecord(f"Odoo cannot hold this {problem}.", code=problem))
                continue
            for address in spellings:
                wanted[status].setdefault(address, []).append(n)
        for status, owners in wanted.items():
            if not owners:
                continue
            if batch.object == "":
                (self._block if status == "unsubscribed" else self._unblock)(owners, progress)
            else:
                self._opt(list_id(batch.object), owners, progress, out=status == "unsubscribed")

    def _block(self, owners: dict[str, list[int]], progress: Progress) -> None:
        """Onto the blacklist. ``create`` leaves an archived row archived, so those are written, and what was created
        is read back: somebody may have archived it in between."""
        rows = self.wire.search_read(BLACKLIST, [["email", "in", sorted(owners)]], ["email", "active"])
        address_of = {r["id"]: r["email"] for r in rows}
        archived = [r["id"] for r in rows if not r["active"]]
        progress.attempt(archived, lambda i: owners[address_of[i]],
                         lambda ids: self._write(BLACKLIST, ids, {"active": True, **self._reason(BLACKLIST)}))
        missing = sorted(set(owners) - set(address_of.values()))
        progress.attempt(missing, owners.__getitem__,
                         lambda part: self._create(
                             BLACKLIST, [{"email": address, **self._reason(BLACKLIST)} for address in part]))
        created = [a for a in missing if any(progress.outcomes[n] is None for n in owners[a])]
        if not created:
            return
        held = self.wire.search_read(BLACKLIST, [["email", "in", created], ["active", "=", True]], ["email"])
        for address in set(created) - {r["email"] for r in held}:
            for n in owners[address]:
                progress.outcomes[n] = Outcome("retry")

    def _reason(self, model: str) -> dict[str, int]:
        """The reason to note with an opt-out of ours, where one is configured and the model keeps any."""
        reason = self.wire.settings.opt_out_reason
        return {"opt_out_reason_id": reason} if reason is not None and "opt_out_reason_id" in self.meta.fields(model) else {}

    def _unblock(self, owners: dict[str, list[int]], progress: Progress) -> None:
        """Off the blacklist, which keeps the row archived. An address without a row is not blocked."""
        rows = self.wire.search_read(BLACKLIST, [["email", "in", sorted(owners)], ["active", "=", True]], ["email"])
        address_of = {r["id"]: r["email"] for r in rows}
        progress.attempt(list(address_of), lambda i: owners[address_of[i]],
                         lambda ids: self._write(BLACKLIST, ids, {"active": False}))

    def _opt(self, list_id: int, owners: dict[str, list[int]], progress: Progress, *, out: bool) -> None:
        """Every subscription of the address to the list, over all contacts that bear it; made where missing.

        An opt-out is also put on contacts of the address that are not on the list: Odoo would mail an address again as
        soon as one of its contacts joins opted in. Creating is not repeatable, so what exists is looked up first.
        """
        if not self.wire.count("mailing.list", [["id", "=", list_id]]):
            progress.reject(progress.open(), RejectRecord("The mailing list does not exist.", code="list"))
            return
        model = self.statuses.subscription
        state = {"opt_out": out, **(self._reason(model) if out else {})}
        contacts = self.statuses.contacts([["email_normalized", "in", sorted(owners)]])
        address_of = {c["id"]: c["email_normalized"] for c in contacts}
        subs = self.wire.search_read(model, [["list_id", "=", list_id], ["contact_id", "in", sorted(address_of)]],
                                     ["contact_id", "opt_out"]) if contacts else []
        contact_of = {s["id"]: s["contact_id"] for s in subs}
        wrong = [s["id"] for s in subs if bool(s["opt_out"]) is not out]
        progress.attempt(wrong, lambda s: owners[address_of[contact_of[s]]],
                         lambda ids: self._write(model, ids, state))
        subscribed = {address_of[c] for c in contact_of.values()}
        joining = [c for c, a in address_of.items() if c not in contact_of.values() and (out or a not in subscribed)]
        progress.attempt(joining, lambda c: owners[address_of[c]], lambda part: self._create(
            model, [{"contact_id": c, "list_id": list_id, **state} for c in part]))
        unknown = sorted(set(owners) - set(address_of.values()))
        line = "subscription_ids" if self.wire.session().major >= 17 else "subscription_list_ids"
        progress.attempt(unknown, owners.__getitem__, lambda part: self._create("mailing.contact", [
            {"name": a, "email": a, line: [[0, 0, {"list_id": list_id, **state}]]} for a in part]))
