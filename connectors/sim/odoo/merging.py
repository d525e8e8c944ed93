"""Merging partners and leads, and turning a lead into an opportunity with its partner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connectors.sim.odoo import errors, records
from connectors.sim.odoo.orm import Env
from connectors.sim.odoo.write import insert, unlink, update

_KEPT = ("name", "active", "parent_id", "type", "is_company", "create_uid", "create_date", "write_uid", "write_date",
         "email_normalized", "message_bounce")


def merge_partners(env: Env, winner: int, losers: Iterable[int]) -> None:
    """The wizard: the winner keeps its values, fills its empty fields from the losers, unites the tags; what referred
    to a loser refers to the winner (and is bumped); the losers are unlinked without a trace."""
    _merge(env, "res.partner", winner, list(losers), "category_id")


def merge_leads(env: Env, winner: int, losers: Iterable[int]) -> None:
    """``merge_opportunity``: the losers are unlinked, the winner's empty fields filled."""
    _merge(env, "crm.lead", winner, list(losers), "tag_ids")


def _merge(env: Env, model: str, winner: int, losers: list[int], tags: str) -> None:
    rows = env.db.tables[model].rows
    for row_id in (winner, *losers):
        env.row(model, row_id)
    if winner in losers:
        raise errors.user_error("A record cannot be merged with itself.")
    fields = env.db.models[model].fields
    united = set(rows[winner].get(tags, ()))
    filled: dict[str, Any] = {}
    for loser in losers:
        united |= set(rows[loser].get(tags, ()))
        for name, value in rows[loser].items():
            info = fields[name]
            if name not in _KEPT and name not in rows[winner] and info.store and info.type != "many2many":
                filled.setdefault(name, value)
        for other, name in env.db.models[model].foreign:
            if name in ("create_uid", "write_uid"):
                continue
            for row_id, row in list(env.db.tables[other].rows.items()):
                if row.get(name) == loser and row_id != winner:
                    records.touch(env, other, row_id, **{name: winner})
    # References first, then the losers: as they go they must not take the references with them.
    unlink(env.sudo(), model, losers)
    update(env, model, winner, {**filled, tags: sorted(united)})


def convert(env: Env, leads: Iterable[int], partner: int | None) -> list[int]:
    """Make opportunities of leads; without ``partner`` None is linked (as the method does on its own)."""
    done = []
    for lead in leads:
        row = env.row("crm.lead", lead)
        if row.get("type") == "opportunity":
            continue
        values: dict[str, object] = {"type": "opportunity"}
        if partner is not None:
            values["partner_id"] = partner
        update(env, "crm.lead", lead, values)
        done.append(lead)
    return done


def partner_for(env: Env, lead: int) -> int:
    """The partner the conversion screen proposes: the lead's, else one with its address, else a new one."""
    row = env.row("crm.lead", lead)
    if "partner_id" in row:
        return int(row["partner_id"])
    address = row.get("email_normalized")
    known = env.db.tables["res.partner"].matching("email_normalized", [address]) if address else []
    if known:
        return min(known)
    return insert(env, "res.partner", {
        "name": row.get("contact_name") or row.get("partner_name") or row.get("name"), "email": row.get("email_from"),
        "phone": row.get("phone"), "function": row.get("function"), "country_id": row.get("country_id")})
