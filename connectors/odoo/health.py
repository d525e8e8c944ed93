"""What ``check`` looks at: version, rights, what may be hidden from the account, and the key's expiry."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.odoo.consent.reading import BLACKLIST, subscription_model
from connectors.odoo.wire.calls import Right, Wire
from connectors.odoo.wire.describe import Meta
from connectors.odoo.wire.values import micros
from syncd.model import Finding, Health

KEY_WARNING_DAYS = 14

_ESSENTIAL: tuple[tuple[str, tuple[Right, ...], str], ...] = (
    (BLACKLIST, ("read", "write", "create"), "Email Marketing / User"),
    ("mailing.contact", ("read", "create"), "Email Marketing / User"),
    ("mailing.list", ("read",), "Email Marketing / User"),
)


def examine(wire: Wire, meta: Meta) -> Health:
    """The findings of one look at a database, after a login of its own."""
    session = wire.session(fresh=True)
    findings = [*_version(wire, session.major), *_rights(wire, session.major), *_sight(wire, session.uid),
                *_key(wire, meta)]
    return Health(f"{wire.settings.user} at Odoo {session.version}", tuple(findings))


def _version(wire: Wire, major: int) -> Iterator[Finding]:
    if not 15 <= major <= 19:
        yield Finding("warning", f"Odoo {major} has not been tried with this connector.")
    if major >= 19 and not wire.session().json2:
        yield Finding("info", "JSON-RPC is deprecated since Odoo 19.", "Set api: json2.")


def _rights(wire: Wire, major: int) -> Iterator[Finding]:
    if not wire.allowed("res.partner", "read"):
        yield Finding("error", "The account may not read res.partner.", "Make it an internal user.")
    wanted = [*_ESSENTIAL, (subscription_model(major), ("read", "write", "create"), "Email Marketing / User")]
    for model, operations, group in wanted:
        lacking = [o for o in operations if not wire.may(model, o)]
        if lacking:
            yield Finding("warning", f"The account may not {' or '.join(lacking)} {model}: consent cannot be "
                          "carried.", f"Install Email Marketing and give the account the group {group}.")
    if wire.may("crm.lead", "read") and not _has_group(wire, "sales_team.group_sale_salesman_all_leads", major):
        yield Finding("warning", "The account sees only its own leads; the others are silently missing.",
                      "Give it the group Sales / User: All Documents.")


def _has_group(wire: Wire, group: str, major: int) -> bool:
    ids = [wire.session().uid] if major >= 18 else None
    return bool(wire.call("res.users", "has_group", ids, group_ext_id=group))


def _sight(wire: Wire, uid: int) -> Iterator[Finding]:
    rows = wire.search_read("res.users", [["id", "=", uid]], ["company_ids"])
    companies = wire.count("res.company", [])
    allowed = len(rows[0]["company_ids"]) if rows else 0
    if allowed < companies:
        yield Finding("warning", f"The account is allowed in {allowed} of {companies} companies; records of the "
                      "others are hidden from it.", "Add the companies to the user, or accept it.")


def _key(wire: Wire, meta: Meta) -> Iterator[Finding]:
    """A key that expires goes on working for a while, here and there; so it is told in advance."""
    if not wire.may("res.users.apikeys", "read"):
        return
    if "expiration_date" not in meta.fields("res.users.apikeys"):
        return
    keys = wire.search_read("res.users.apikeys", [], ["expiration_date"])
    dates = [micros(k["expiration_date"]) for k in keys if k["expiration_date"]]
    if not dates or len(dates) < len(keys):
        return
    left = (max(dates) - wire.now()) / 86_400e6
    if left < KEY_WARNING_DAYS:
        yield Finding("warning", f"The last API key of the account expires in {max(0, int(left))} days.",
                      "Make a new key and put it in the configuration.")
