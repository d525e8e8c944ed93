"""Fields that are computed when read, and display names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from connectors.sim.odoo.schema import OLD_SUBSCRIPTION, SUBSCRIPTION, Field
from connectors.sim.odoo.store import Row
from connectors.sim.odoo.values import normalize_email

if TYPE_CHECKING:
    from connectors.sim.odoo.orm import Env


def subscription_model(env: Env) -> str:
    """Its name on this server version."""
    return SUBSCRIPTION if SUBSCRIPTION in env.db.tables else OLD_SUBSCRIPTION


def blacklisted(env: Env, address: str | None) -> bool:
    """Whether an active blacklist row holds the normalised address."""
    if not address:
        return False
    table = env.db.tables["mail.blacklist"]
    return any(table.rows[i].get("active") for i in table.matching("email", [address]))


def complete_name(env: Env, row: Row) -> str:
    """A person's name behind the company's."""
    name = row.get("name", "")
    parent = env.db.tables["res.partner"].rows.get(row.get("parent_id", 0))
    if parent is None or row.get("is_company"):
        return str(name)
    return f"{parent.get('name', '')}, {name}" if name else str(parent.get("name", ""))


def display_name(env: Env, model: str, row_id: int, row: Row) -> str:
    if model == "res.partner":
        return complete_name(env, row)
    if model == "mailing.list":
        return f"{row.get('name', '')} ({contact_count(env, row_id)})"
    if model == "mailing.contact":
        return str(row.get("name") or row.get("email") or "")
    if model in (SUBSCRIPTION, OLD_SUBSCRIPTION):
        return env.display_name("mailing.contact", row.get("contact_id", 0))
    return str(row.get(env.db.models[model].rec_name, ""))


def contact_count(env: Env, list_id: int) -> int:
    """Subscribers of a list, opted out or not."""
    return len(env.db.tables[subscription_model(env)].matching("list_id", [list_id]))


def commercial_partner(env: Env, row_id: int, row: Row) -> int:
    """The company above a person, the record itself when there is none."""
    rows = env.db.tables["res.partner"].rows
    seen = {row_id}
    while not row.get("is_company") and row.get("parent_id") in rows and row["parent_id"] not in seen:
        row_id = row["parent_id"]
        seen.add(row_id)
        row = rows[row_id]
    return row_id


def virtual_many2many(env: Env, model: str, info: Field) -> Callable[[int, Row], Iterable[int]]:
    """The far side of a relation that another model stores."""
    if model == "res.partner.category":
        partners = env.db.tables[info.relation].rows
        return lambda i, _row: [p for p, row in partners.items() if i in row.get(info.inverse, ())]
    own = "contact_id" if model == "mailing.contact" else "list_id"
    table = env.db.tables[subscription_model(env)]
    return lambda i, _row: [table.rows[s][info.inverse] for s in table.matching(own, [i])]


def _is_blacklisted(env: Env, model: str, _id: int, row: Row) -> bool:
    if model in (SUBSCRIPTION, OLD_SUBSCRIPTION):
        row = env.db.tables["mailing.contact"].rows[row["contact_id"]]
    return blacklisted(env, row.get("email_normalized"))


def _opt_out(env: Env, _model: str, row_id: int, _row: Row) -> bool:
    # Means something only for a single list in the context; the server answers False otherwise.
    lists = env.context.get("default_list_ids") or []
    if len(lists) != 1:
        return False
    table = env.db.tables[subscription_model(env)]
    return any(table.rows[s].get("opt_out", False) for s in table.matching("contact_id", [row_id])
               if table.rows[s]["list_id"] == lists[0])


def _formatted(_env: Env, _model: str, _id: int, row: Row) -> str | bool:
    address = normalize_email(row.get("email"))
    return f'"{row.get("name", "")}" <{address}>' if address else False


FIELDS: dict[str, Callable[[Env, str, int, Row], Any]] = {
    "display_name": lambda env, model, i, row: display_name(env, model, i, row) or False,
    "complete_name": lambda env, _m, _i, row: complete_name(env, row) or False,
    "commercial_partner_id": lambda env, _m, i, row: commercial_partner(env, i, row),
    "email_formatted": _formatted,
    "is_blacklisted": _is_blacklisted,
    "opt_out": _opt_out,
    "contact_count": lambda env, _m, i, _row: contact_count(env, i),
    "message_bounce": lambda env, _m, _i, row: env.db.tables["mailing.contact"].rows[row["contact_id"]].get(
        "message_bounce", 0),
    "is_automated_probability": lambda _e, _m, _i, row: row.get("probability") == row.get("automated_probability"),
    "password": lambda _e, _m, _i, _row: "",
}
"""Field name -> (env, model, id, row) -> API value; a name means the same in every model that has it."""
