"""Fields of records written.

A call of several records is one transaction, so a bad record refuses all of them: it is found by halving.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.batches import Progress
from connectors.errors import RejectRecord
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.describe import Meta
from connectors.odoo.wire.values import to_api
from syncd.model import Batch, Outcome


class RecordWriter:
    """Applies updates of one connection."""

    def __init__(self, wire: Wire, meta: Meta) -> None:
        self.wire, self.meta = wire, meta

    def apply(self, batch: Batch) -> list[Outcome]:
        """One outcome per operation, in order."""
        progress = Progress(batch.ops)
        return progress.run(lambda: self._apply(batch, progress))

    def _apply(self, batch: Batch, progress: Progress) -> None:
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
            self._group(batch, infos, tags, values, owners, progress)

    def _group(self, batch: Batch, infos: list[Mapping[str, Any]], tags: list[dict[str, int]],
               values: tuple[Any, ...], owners: dict[int, list[int]], progress: Progress) -> None:
        try:
            vals = {name: to_api(info["type"], value, known) for name, info, known, value
                    in zip(batch.columns, infos, tags, values, strict=True)}
        except RejectRecord as error:
            progress.reject([n for places in owners.values() for n in places], error)
            return
        progress.attempt(list(owners), owners.__getitem__, lambda ids: self.wire.write(batch.object, ids, vals), final=True)

    def _tags(self, info: Mapping[str, Any], batch: Batch, at: int) -> dict[str, int]:
        """Ids by name of the tags this batch sets in a column."""
        if info["type"] != "many2many":
            return {}
        names = sorted({name for op in batch.ops for name in str(op.values[at] or "").split(";") if name})
        rows = self.wire.search_read(info["relation"], [["name", "in", names]], ["name"]) if names else []
        return {r["name"]: r["id"] for r in reversed(rows)}
