"""What each model does besides storing values: derived columns, synchronised fields, constraints, cascades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from connectors.sim.odoo import errors
from connectors.sim.odoo.orm import Env
from connectors.sim.odoo.schema import OLD_SUBSCRIPTION, SUBSCRIPTION
from connectors.sim.odoo.store import Row
from connectors.sim.odoo.values import normalize_email

_SUBSCRIPTIONS = (SUBSCRIPTION, OLD_SUBSCRIPTION)
_ADDRESS_FIELDS = ("street", "city", "zip", "country_id")
_EMAIL_FIELD = {"res.partner": "email", "mailing.contact": "email", "crm.lead": "email_from"}


def defaults(env: Env, model: str) -> Row:
    """Column defaults of a new record."""
    row: Row = {}
    if "active" in env.db.models[model].fields:
        row["active"] = True
    if model == "res.partner":
        row |= {"type": "contact", "lang": env.access.users[env.uid].lang}
    elif model == "crm.lead":
        stages = env.db.tables["crm.stage"].rows
        first = min(stages, key=lambda i: (stages[i].get("sequence", 0), i), default=None)
        row |= {"type": "lead", "priority": "0", "probability": 33.14, "automated_probability": 33.14,
                "date_last_stage_update": env.start}
        if first is not None:
            row["stage_id"] = first
    elif model in _SUBSCRIPTIONS:
        row["opt_out"] = False
    return row


def before_create(env: Env, model: str, vals: Mapping[str, Any]) -> None:
    if model == "mailing.contact" and vals.get("list_ids") and (
            vals.get("subscription_ids") or vals.get("subscription_list_ids")):
        raise errors.user_error("You should give either list_ids, either subscription_ids to create new contacts.")


def before_write(env: Env, model: str, vals: Mapping[str, Any]) -> dict[str, Any]:
    """The values with what the model adds to them."""
    out = dict(vals)
    if model in _SUBSCRIPTIONS and "opt_out" in out:
        _date_opt_out(env, out)
    if model == "mail.blacklist" and isinstance(out.get("email"), str):
        out["email"] = valid_address(out["email"])
    if model == "crm.lead" and "stage_id" in out:
        stage = env.db.tables["crm.stage"].rows.get(out["stage_id"], {})
        if stage.get("is_won"):
            out |= {"probability": 100.0, "automated_probability": 100.0}
    return out


def opt_out_column(env: Env) -> str:
    """The name of the column that dates an opt-out on this version."""
    return "opt_out_datetime" if SUBSCRIPTION in env.db.tables else "unsubscription_date"


def _date_opt_out(env: Env, vals: dict[str, Any]) -> None:
    column = opt_out_column(env)
    if not vals["opt_out"]:
        vals[column] = False
    elif not vals.get(column):
        vals[column] = env.start


def derive(env: Env, model: str, row: Row) -> None:
    """Fill stored columns that follow from others."""
    source = _EMAIL_FIELD.get(model)
    if source is not None:
        address = normalize_email(row.get(source))
        row.pop("email_normalized", None)
        if address is not None:
            row["email_normalized"] = address
    if model in _SUBSCRIPTIONS and row.get("opt_out") and opt_out_column(env) not in row:
        row[opt_out_column(env)] = env.start


def check_row(env: Env, model: str, row_id: int, row: Row) -> None:
    """:raises OdooError: what a constraint of the database or the model says"""
    if model == "res.partner" and not row.get("name") and row.get("type", "contact") == "contact":
        raise errors.validation_error("The operation cannot be completed: Contacts require a name")
    if model in _SUBSCRIPTIONS:
        table = env.db.tables[model]
        for column in ("contact_id", "list_id"):
            if row.get(column) is None:
                raise errors.validation_error(
                    "The operation cannot be completed: missing required fields on this record")
        if any(i != row_id and table.rows[i]["list_id"] == row["list_id"]
               for i in table.matching("contact_id", [row["contact_id"]])):
            raise errors.validation_error("The operation cannot be completed: A mailing contact cannot subscribe to "
                                          "the same mailing list multiple times.")


def after_write(env: Env, model: str, row_id: int, old: Row, row: Row) -> None:
    """Carry a change to the records that follow it."""
    if model == "res.partner":
        _after_partner(env, row_id, old, row)
    elif model == "crm.lead":
        _after_lead(env, row_id, old, row)


def touch(env: Env, model: str, row_id: int, **values: Any) -> None:
    """Write columns directly and bump the row, as recomputed stored fields do."""
    row = {**env.db.tables[model].rows[row_id], **values}
    row["write_date"], row["write_uid"] = env.start, env.uid
    env.db.put(model, row_id, {name: value for name, value in row.items() if value is not None})


def _after_partner(env: Env, row_id: int, old: Row, row: Row) -> None:
    changed = {n for n in ("name", "lang", "email", *_ADDRESS_FIELDS) if old.get(n) != row.get(n)}
    if not old or not changed:
        return
    table = env.db.tables["res.partner"]
    for child in list(table.matching("parent_id", [row_id])):
        held = table.rows[child]
        values: dict[str, Any] = {}
        if changed & set(_ADDRESS_FIELDS) and held.get("type", "contact") == "contact":
            values = {n: row.get(n) for n in _ADDRESS_FIELDS}
        if "lang" in changed:
            values["lang"] = row.get("lang")
        if values or "name" in changed:
            # A renamed parent changes the children's stored complete_name.
            touch(env, "res.partner", child, **values)
    if "email" in changed:
        leads = env.db.tables["crm.lead"]
        for lead in list(leads.matching("partner_id", [row_id])):
            if leads.rows[lead].get("email_from") != row.get("email"):
                touch(env, "crm.lead", lead, email_from=row.get("email"), email_normalized=row.get("email_normalized"))


def _after_lead(env: Env, row_id: int, old: Row, row: Row) -> None:
    partners = env.db.tables["res.partner"].rows
    partner = row.get("partner_id")
    if partner is not None and old.get("partner_id") != partner and "email_from" not in row:
        held = partners[partner]
        touch(env, "crm.lead", row_id, email_from=held.get("email"), email_normalized=held.get("email_normalized"))
    elif partner is not None and old and old.get("email_from") != row.get("email_from"):
        held = partners[partner]
        if held.get("email") != row.get("email_from"):
            touch(env, "res.partner", partner, email=row.get("email_from"),
                  email_normalized=row.get("email_normalized"))
    stage = env.db.tables["crm.stage"].rows.get(row.get("stage_id", 0), {})
    if old.get("stage_id") != row.get("stage_id") and stage.get("is_won") and "date_closed" not in row:
        touch(env, "crm.lead", row_id, date_closed=env.start, date_last_stage_update=env.start)


def before_unlink(env: Env, model: str, ids: Iterable[int]) -> None:
    """:raises OdooError: for a contact that is linked to an active user"""
    if model != "res.partner":
        return
    users = env.db.tables["res.users"]
    linked = [users.rows[u] for u in users.matching("partner_id", ids) if users.rows[u].get("active")]
    if linked:
        names = "\n".join(str(u.get("name")) for u in linked)
        raise errors.validation_error(
            "You cannot delete contacts linked to an active user.\nAsk an administrator to archive their associated "
            f"user first.\n\nLinked active users :\n{names}")


def valid_address(text: Any) -> str:
    """:raises OdooError: UserError where ``text`` holds no address"""
    address = normalize_email(text)
    if address is None:
        raise errors.user_error(f"Invalid email address “{text}”")
    return address
