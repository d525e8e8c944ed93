"""Blacklist, list subscriptions, the recipient's own pages, bounces, and the mailings of the server itself.

Who a list mailing skips follows the 18.0 source as far as it is known: an address on the blacklist, an address whose
every subscription to the mailing's lists is opted out (one that is opted in on a duplicate contact is still mailed),
a second contact with the same address, and what is no address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from connectors.sim.odoo import computed, records
from connectors.sim.odoo.access import PUBLIC, SUPERUSER
from connectors.sim.odoo.orm import Env
from connectors.sim.odoo.values import normalize_email
from connectors.sim.odoo.write import insert, update

BOUNCES_TO_BLACKLIST = 5
BOUNCE_SPAN = 7 * 86_400 * 1_000_000
BOUNCE_WINDOW = 13 * BOUNCE_SPAN


def as_public(env: Env) -> Env:
    """The website's user: what a recipient does on the pages is written by it, past all rights."""
    return Env(env.db, env.access, PUBLIC, env.context, env.start, su=True)


# --------------------------------------------------------------------------- mail.blacklist

def create_blacklist(env: Env, vals_list: Iterable[Mapping[str, Any]]) -> list[int]:
    """``create`` as this model does it: addresses that have a row already (an archived one stays archived) give that
    row's id and come first; duplicates collapse; the order of the input is lost."""
    env.access.require(env, "mail.blacklist", "c")
    wanted: dict[str, Mapping[str, Any]] = {}
    for vals in vals_list:
        wanted.setdefault(records.valid_address(vals.get("email")), vals)
    table = env.db.tables["mail.blacklist"]
    present = {table.rows[i]["email"]: i for i in table.matching("email", wanted)}
    return list(present.values()) + [
        insert(env, "mail.blacklist", {**vals, "email": address})
        for address, vals in wanted.items() if address not in present]


def blacklist_add(env: Env, address: str) -> int:
    """What screens, pages and the bounce gateway do: create the row, or activate the archived one."""
    table = env.db.tables["mail.blacklist"]
    for row_id in table.matching("email", [address]):
        if not table.rows[row_id].get("active"):
            update(env, "mail.blacklist", row_id, {"active": True})
        return row_id
    return insert(env, "mail.blacklist", {"email": address})


def blacklist_remove(env: Env, address: str) -> int | None:
    """Archive the address' row; None when it has none."""
    table = env.db.tables["mail.blacklist"]
    for row_id in table.matching("email", [address]):
        if table.rows[row_id].get("active"):
            update(env, "mail.blacklist", row_id, {"active": False})
        return row_id
    return None


# --------------------------------------------------------------------------- subscriptions

def subscriptions_of(env: Env, address: str, lists: Iterable[int] | None = None) -> list[int]:
    """Ids of the address' subscriptions (to these lists only), over all contacts that bear it."""
    sub = env.db.tables[computed.subscription_model(env)]
    contacts = env.db.tables["mailing.contact"].matching("email_normalized", [address])
    wanted = None if lists is None else set(lists)
    return [s for s in sub.matching("contact_id", contacts) if wanted is None or sub.rows[s]["list_id"] in wanted]


def set_topic(env: Env, address: str, list_id: int, state: bool | None, *, create: bool = True) -> int:
    """Opt the address in (True), out (False) or off the list (None); returns how many subscriptions changed."""
    model = computed.subscription_model(env)
    rows = env.db.tables[model].rows
    found = subscriptions_of(env, address, [list_id])
    if state is None:
        for row_id in found:
            env.db.put(model, row_id, None)
        return len(found)
    changed = [s for s in found if bool(rows[s].get("opt_out")) is state]
    for row_id in changed:
        update(env, model, row_id, {"opt_out": not state})
    if not found and create:
        contacts = env.db.tables["mailing.contact"].matching("email_normalized", [address])
        contact = contacts[0] if contacts else insert(env, "mailing.contact", {"name": address, "email": address})
        insert(env, model, {"contact_id": contact, "list_id": list_id, "opt_out": not state})
        return 1
    return len(changed)


def topic_state(env: Env, address: str | None, list_id: int) -> bool | None:
    """True subscribed, False opted out (on any of the address' contacts), None not on the list."""
    if not address:
        return None
    rows = env.db.tables[computed.subscription_model(env)].rows
    states = [bool(rows[s].get("opt_out")) for s in subscriptions_of(env, address, [list_id])]
    return not any(states) if states else None


# --------------------------------------------------------------------------- the recipient's pages

def token(database: str, mailing: int, document: int, address: str) -> str:
    """The hash of an unsubscribe link: 128 hex digits."""
    return hmac.new(database.encode(), f"{mailing}/{document}/{address}".encode(), hashlib.sha512).hexdigest()


def unsubscribe(env: Env, mailing: int, address: str) -> int:
    """An unsubscribe link was followed: opts out of that mailing's lists, or blacklists where it has none."""
    public = as_public(env)
    lists = env.db.tables["mailing.mailing"].rows[mailing].get("contact_list_ids", ())
    if not lists:
        blacklist_add(public, address)
        return 1
    return sum(set_topic(public, address, list_id, False, create=False) for list_id in lists)


def give_reason(env: Env, mailing: int, address: str, action: str, reason: int) -> bool:
    """The second page: the reason moves ``opt_out_datetime`` to now, or goes on the blacklist row."""
    public = as_public(env)
    if action == "blocklist_add":
        for row_id in env.db.tables["mail.blacklist"].matching("email", [address]):
            update(public, "mail.blacklist", row_id, {"opt_out_reason_id": reason})
        return True
    model = computed.subscription_model(env)
    lists = env.db.tables["mailing.mailing"].rows[mailing].get("contact_list_ids", ())
    for row_id in subscriptions_of(env, address, lists):
        if env.db.tables[model].rows[row_id].get("opt_out"):
            update(public, model, row_id, {"opt_out_reason_id": reason, records.opt_out_column(env): env.start})
    return True


def choose_lists(env: Env, mailing: int, address: str, opted_in: Iterable[int]) -> int:
    """The preference page: in for the ids given, out for the mailing's and the contact's other public lists."""
    public = as_public(env)
    chosen = set(opted_in)
    held = {env.db.tables[computed.subscription_model(env)].rows[s]["list_id"] for s in subscriptions_of(env, address)}
    lists = env.db.tables["mailing.list"].rows
    for list_id in sorted(chosen):
        set_topic(public, address, list_id, True)
    for list_id in sorted(held - chosen):
        if lists[list_id].get("is_public") or list_id in _lists_of(env, mailing):
            set_topic(public, address, list_id, False, create=False)
    return 0


def _lists_of(env: Env, mailing: int) -> tuple[int, ...]:
    lists: tuple[int, ...] = env.db.tables["mailing.mailing"].rows[mailing].get("contact_list_ids", ())
    return lists


# --------------------------------------------------------------------------- bounces

def bounce(env: Env, address: str, mailing: int | None = None) -> int:
    """A bounce mail came in: counted on every record with the address; the fifth within 13 weeks, spread over more
    than one, blacklists the address by the server's own account."""
    gateway = Env(env.db, env.access, SUPERUSER, env.context, env.start)
    touched = 0
    for model in ("res.partner", "crm.lead", "mailing.contact"):
        table = env.db.tables[model]
        for row_id in table.matching("email_normalized", [address]):
            update(gateway, model, row_id, {"message_bounce": table.rows[row_id].get("message_bounce", 0) + 1})
            touched += 1
    trace: dict[str, Any] = {"email": address, "trace_status": "bounce", "failure_type": "mail_bounce"}
    if mailing is not None:
        trace["mass_mailing_id"] = mailing
    insert(gateway, "mailing.trace", trace)
    table = env.db.tables["mailing.trace"]
    bounces = [table.rows[t] for t in table.matching("email", [address])]
    times = [t["write_date"] for t in bounces
             if t.get("trace_status") == "bounce" and t["write_date"] > env.start - BOUNCE_WINDOW]
    if len(times) >= BOUNCES_TO_BLACKLIST and max(times) - min(times) > BOUNCE_SPAN:
        blacklist_add(gateway, address)
    return touched


# --------------------------------------------------------------------------- the server's own mailings

def send(env: Env, subject: str, lists: tuple[int, ...], model: str = "mailing.contact",
         records_ids: Iterable[int] = ()) -> dict[str, Any]:
    """Send a mailing to lists, or to records of ``model``.

    :returns: {"id", "mailed": [addresses], "skipped": {reason: count}}
    """
    mailing = insert(env, "mailing.mailing", {
        "subject": subject, "state": "done", "sent_date": env.start, "mailing_model_real": model,
        "contact_list_ids": list(lists)})
    sub = env.db.tables[computed.subscription_model(env)]
    if lists:
        on_lists = sub.matching("list_id", lists)
        recipients = sorted({sub.rows[s]["contact_id"] for s in on_lists})
    else:
        on_lists, recipients = [], sorted(records_ids)
    column = "email_from" if model == "crm.lead" else "email"
    contacts = env.db.tables["mailing.contact"].rows
    wishes = [(contacts[sub.rows[s]["contact_id"]].get("email_normalized"), bool(sub.rows[s].get("opt_out")))
              for s in on_lists]
    opted_out = {a for a, out in wishes if out} - {a for a, out in wishes if not out}
    mailed: list[str] = []
    skipped: dict[str, int] = {}
    seen: set[str] = set()
    for row_id in recipients:
        text = env.db.tables[model].rows[row_id].get(column)
        address = normalize_email(text)
        reason = _failure(env, text, address, opted_out, seen)
        if reason is None and address is not None:
            mailed.append(address)
            seen.add(address)
        else:
            skipped[str(reason)] = skipped.get(str(reason), 0) + 1
        insert(env, "mailing.trace", {
            "email": address or text or "", "model": model, "res_id": row_id, "mass_mailing_id": mailing,
            "trace_status": "cancel" if reason else "sent", "failure_type": reason or False,
            "sent_datetime": False if reason else env.start})
    return {"id": str(mailing), "mailed": sorted(mailed), "skipped": skipped}


def _failure(env: Env, text: Any, address: str | None, opted_out: set[Any], seen: set[str]) -> str | None:
    """Why this recipient gets no mail, None when one is sent."""
    if not text:
        return "mail_email_missing"
    if address is None:
        return "mail_email_invalid"
    if computed.blacklisted(env, address):
        return "mail_bl"
    if address in opted_out:
        return "mail_optout"
    return "mail_dup" if address in seen else None
