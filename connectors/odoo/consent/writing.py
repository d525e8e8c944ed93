"""Consent written: addresses onto and off the blacklist, and the opt-outs of mailing lists.

Outcomes follow the operations, not the answers: a batch of blacklist rows is answered in an order of its own.
"""

from __future__ import annotations

from connectors.batches import Progress
from connectors.errors import RejectRecord
from connectors.odoo.consent.reading import BLACKLIST, Statuses, list_id
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.describe import Meta
from connectors.odoo.wire.values import mailbox, normal_address
from syncd.model import Batch, Outcome


class StatusWriter:
    """Applies status batches of one connection."""

    def __init__(self, wire: Wire, meta: Meta, statuses: Statuses) -> None:
        self.wire, self.meta, self.statuses = wire, meta, statuses

    def apply(self, batch: Batch) -> list[Outcome]:
        """One outcome per operation, in order.

        :raises Misconfigured: there is no such list
        """
        if batch.object:
            self.statuses.require(batch.object)
        progress = Progress(batch.ops)
        return progress.run(lambda: self._apply(batch, progress))

    def _apply(self, batch: Batch, progress: Progress) -> None:
        """Opt-outs before everything else of the batch; several operations on one mailbox share its fate."""
        wanted: dict[str, dict[str, list[int]]] = {"unsubscribed": {}, "subscribed": {}}
        given: set[str] = set()
        for n, op in enumerate(batch.ops):
            status = str(op.values[batch.columns.index("status")])
            addresses = {a for a in (normal_address(text) for text in (op.key, op.email or "")) if a}
            if not addresses or status not in wanted:
                problem = "status" if addresses else "address"
                progress.reject([n], RejectRecord(f"Odoo cannot hold this {problem}.", code=problem))
                continue
            given |= addresses
            for box in set(map(mailbox, addresses)):
                wanted[status].setdefault(box, []).append(n)
        spellings = self.statuses.spellings(given)
        for status, boxes in wanted.items():
            owners = {address: boxes[box] for box in boxes for address in spellings[box]}
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
                         lambda ids: self.wire.write(BLACKLIST, ids, {"active": True, **self._reason(BLACKLIST)}))
        missing = sorted(set(owners) - set(address_of.values()))
        progress.attempt(missing, owners.__getitem__,
                         lambda part: self.wire.create(
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
                         lambda ids: self.wire.write(BLACKLIST, ids, {"active": False}))

    def _opt(self, list_id: int, owners: dict[str, list[int]], progress: Progress, *, out: bool) -> None:
        """Every subscription of the address to the list, over all contacts that bear it; made where missing.

        An opt-out is also put on contacts of the address that are not on the list: Odoo would mail an address again as
        soon as one of its contacts joins opted in. Creating is not repeatable, so what exists is looked up first.
        """
        model = self.statuses.subscription
        state = {"opt_out": out, **(self._reason(model) if out else {})}
        contacts = self.statuses.contacts([["email_normalized", "in", sorted(owners)]])
        address_of = {c["id"]: c["email_normalized"] for c in contacts}
        subs = self.wire.search_read(model, [["list_id", "=", list_id], ["contact_id", "in", sorted(address_of)]],
                                     ["contact_id", "opt_out"]) if contacts else []
        contact_of = {s["id"]: s["contact_id"] for s in subs}
        wrong = [s["id"] for s in subs if bool(s["opt_out"]) is not out]
        progress.attempt(wrong, lambda s: owners[address_of[contact_of[s]]],
                         lambda ids: self.wire.write(model, ids, state))
        box_of = {c: mailbox(address) for c, address in address_of.items()}
        subscribed = {box_of[c] for c in contact_of.values()}
        joining = [c for c, box in box_of.items() if c not in contact_of.values() and (out or box not in subscribed)]
        progress.attempt(joining, lambda c: owners[address_of[c]], lambda part: self.wire.create(
            model, [{"contact_id": c, "list_id": list_id, **state} for c in part]))
        known = set(box_of.values())
        unknown = sorted({box: a for a in sorted(owners) if (box := mailbox(a)) not in known}.values())
        line = "subscription_ids" if self.wire.session().major >= 17 else "subscription_list_ids"
        progress.attempt(unknown, owners.__getitem__, lambda part: self.wire.create("mailing.contact", [
            {"name": a, "email": a, line: [[0, 0, {"list_id": list_id, **state}]]} for a in part]))
