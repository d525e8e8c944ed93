"""Status streams: the blacklist (all mail, container "") and the subscriptions of each mailing list.

Consent at Odoo belongs to addresses: one address on several contacts is one status, opted out as soon as one of them
is. Odoo itself mails an address that is opted out on one contact and opted in on another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from connectors.errors import Misconfigured
from connectors.odoo.records.reading import Record, Records
from connectors.odoo.records.windows import Window, decode, walk
from connectors.odoo.wire.calls import Domain, Wire
from connectors.odoo.wire.describe import Meta
from connectors.odoo.wire.values import exactly, mailbox, micros, normal_address
from syncd.model import Origin, Page, Status, StreamSpec, Value

BLACKLIST = "mail.blacklist"
ODOOBOT = 1
BOUNCES = 5
"""Bounces after which Odoo blacklists an address by itself."""

SPELLED = {"res.partner": "email_normalized", "crm.lead": "email_normalized", "mailing.contact": "email_normalized",
           BLACKLIST: "email"}
"""Where an address may stand as somebody wrote it."""

Row = tuple[Value, ...]


def list_id(container: str) -> int:
    """The mailing list a container ("7", or "list:7" as objects are called) means.

    :raises Misconfigured: it means none
    """
    text = container.removeprefix("list:")
    if not (text.isascii() and text.isdigit()):
        raise Misconfigured("A mailing list of Odoo is named by its number.", code="list",
                            remedy="Write the id of the list in the mapping (mailing_list: 7).")
    return int(text)


def subscription_model(major: int) -> str:
    """What the rows of mailing lists are called in a version of Odoo."""
    return "mailing.subscription" if major >= 17 else "mailing.contact.subscription"


class Statuses:
    """Reads the status streams of one connection."""

    def __init__(self, wire: Wire, meta: Meta, records: Records) -> None:
        self.wire, self.meta, self.records = wire, meta, records
        self.overlap = records.overlap
        self._actors: dict[int, Origin] = {}

    @property
    def subscription(self) -> str:
        """The model's name at this server."""
        return subscription_model(self.wire.session().major)

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """Statuses of addresses that may have changed. An address can be repeated on later pages."""
        container = spec.container or ""
        self.wire.session()
        stream = f"status:{container}"
        window = Window(stream, whole=True) if cursor is None else decode(stream, cursor)
        model, scope, watched = self._source(container)
        counted = self.records.counting(model, scope, whole=window.whole)
        for found, mark, last, complete in walk(
                window, self.overlap, self.wire.now, lambda w: self._page(model, scope, watched, w),
                lambda row: int(row["id"]), counted):
            if window.whole and container and last and not found:
                self.require(container)
            yield Page(self._statuses(container, found), mark, last, complete)

    def require(self, container: str) -> None:
        """A list that is not there has no subscriptions either, as if it were empty.

        :raises Misconfigured: there is no such list
        """
        if not self.wire.count("mailing.list", [["id", "=", list_id(container)]]):
            raise Misconfigured(f"Odoo has no mailing list {list_id(container)}.", code="list",
                                remedy="Write the id of the list in the mapping (mailing_list: 7).")

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """The status now of these addresses; one without a row or subscription is absent."""
        container = spec.container or ""
        asked = {a for a in map(normal_address, keys) if a}
        if not asked:
            return Page([], "", last=True)
        addresses = self._spelled(asked)
        if not container:
            found = self.wire.search_read(BLACKLIST, [["email", "in", addresses]], self._fields(BLACKLIST))
            return Page(self._blacklist(found), "", last=True)
        return Page(self._of_addresses(container, addresses), "", last=True)

    def spellings(self, addresses: Iterable[str]) -> dict[str, set[str]]:
        """The addresses that are one mailbox, by ``mailbox``: those given, and how else Odoo has them. It keeps capitals
        beside letters beyond ASCII, and a domain as it was written; who is blocked in one spelling is mailed in the other.
        """
        found: dict[str, set[str]] = {}
        for address in addresses:
            found.setdefault(mailbox(address), set()).add(address)
        odd = {box: spelled for box, spelled in found.items() if not box.isascii()}
        if not odd:
            return found
        for box, spelled in odd.items():
            spelled.add(normal_address(box) or box)
        patterns = sorted(map(exactly, set().union(*odd.values())))
        for model, field in SPELLED.items():
            domain = ["|"] * (len(patterns) - 1) + [[field, "=ilike", pattern] for pattern in patterns]
            try:
                rows = self.wire.search_read(model, domain, [field])
            except Misconfigured:  # not installed, or the account may not read it
                continue
            for row in rows:
                found.get(mailbox(row[field]), set()).add(row[field])
        return found

    def _spelled(self, addresses: Iterable[str]) -> list[str]:
        return sorted(set().union(*self.spellings(addresses).values()))

    def _source(self, container: str) -> tuple[str, Domain, list[str]]:
        """(model, search that limits it, paths whose changes count): a contact's new address is in its own row."""
        if not container:
            return BLACKLIST, [], []
        return self.subscription, [["list_id", "=", list_id(container)]], ["contact_id"]

    def _page(self, model: str, scope: Domain, watched: list[str], window: Window) -> list[Record]:
        return self.wire.search_read(model, [*scope, *window.domain(self.overlap, watched)], self._fields(model),
                                     limit=self.wire.settings.page_size)

    def _fields(self, model: str) -> list[str]:
        wanted = ["email", "active"] if model == BLACKLIST else ["contact_id", "opt_out"]
        wanted += ["opt_out_datetime", "unsubscription_date", "opt_out_reason_id", "write_date", "write_uid",
                   "create_uid"]
        known = self.meta.fields(model)
        return [name for name in wanted if name in known]

    def _statuses(self, container: str, found: list[Record]) -> list[Row]:
        """Of each mailbox all that Odoo holds, in whatever spelling: one of its rows may refuse while another changes."""
        if not container:
            odd = [r["email"] for r in found if not mailbox(r["email"]).isascii()]
            rest = [["email", "in", self._spelled(odd)], ["id", "not in", [r["id"] for r in found]]]
            return self._blacklist(found + (self.wire.search_read(BLACKLIST, rest, self._fields(BLACKLIST)) if odd else []))
        contacts = self.contacts([["id", "in", sorted({r["contact_id"] for r in found})]]) if found else []
        return self._of_addresses(container, self._spelled(c["email_normalized"] for c in contacts if c["email_normalized"]))

    # -- the blacklist

    def _blacklist(self, found: list[Record]) -> list[Row]:
        self._learn(uid for r in found for uid in (r["write_uid"], r["create_uid"]) if uid)
        bounced = self._bounced(found)
        rows: list[Row] = []
        for r in found:
            status: Status = "unsubscribed" if r["active"] else "subscribed"
            origin = self._origin(r["write_uid"])
            if r["active"] and origin != "self" and self._origin(r["create_uid"]) == "person":
                # The person blacklisted the address first; who touched the row later does not make it less so. But we write
                # to archived rows only: who is back on the blacklist by us did not say so again.
                origin = "person"
            if r["email"] in bounced:
                status, origin = "held", "bounce"
            at = micros(r["write_date"]) if r["write_date"] else None
            rows.append(("", r["email"], r["email"], status, at, origin, _evidence(BLACKLIST, r)))
        return rows

    def _bounced(self, found: list[Record]) -> set[str]:
        """Addresses Odoo blacklisted because mails came back: rows of its own account, without a reason, and enough
        bounces on record. In doubt the row is an opt-out."""
        suspects = [r["email"] for r in found if r["active"] and r["create_uid"] == ODOOBOT
                    and r["write_uid"] == ODOOBOT and not r.get("opt_out_reason_id")]
        if not suspects:
            return set()
        try:
            traces = self.wire.search_read(
                "mailing.trace", [["email", "in", suspects], ["trace_status", "=", "bounce"]], ["email"])
        except Misconfigured:
            # The account may not read traces: then nothing is known of bounces.
            return set()
        return {address for address, count in Counter(t["email"] for t in traces).items() if count >= BOUNCES}

    # -- subscriptions

    def contacts(self, domain: Domain) -> list[Record]:
        """Mailing contacts with id, email and email_normalized."""
        return self.wire.search_read("mailing.contact", domain, ["email", "email_normalized"])

    def _of_addresses(self, container: str, addresses: list[str]) -> list[Row]:
        """One row for each address that is subscribed, by any contact that bears it."""
        if not addresses:
            return []
        contacts = self.contacts([["email_normalized", "in", addresses]])
        by_contact = {c["id"]: c for c in contacts}
        subs = self.wire.search_read(
            self.subscription, [["list_id", "=", list_id(container)], ["contact_id", "in", sorted(by_contact)]],
            self._fields(self.subscription)) if contacts else []
        self._learn(r["write_uid"] for r in subs if r["write_uid"])
        groups: dict[str, list[Record]] = {}
        for sub in subs:
            contact = by_contact.get(sub["contact_id"])
            if contact is not None:
                groups.setdefault(contact["email_normalized"], []).append(sub)
        spelling = {c["email_normalized"]: c["email"] for c in reversed(contacts)}
        return [self._fold(container, address, spelling[address], group) for address, group in groups.items()]

    def _fold(self, container: str, address: str, email: str, subs: list[Record]) -> Row:
        """The status of one address from its subscriptions to one list."""
        outs = [s for s in subs if s["opt_out"]]
        status: Status = "unsubscribed" if outs else "subscribed"
        deciding = max(outs or subs, key=lambda s: (_said_at(s) or 0, s["id"]))
        by_person = any(self._origin(s["write_uid"]) == "person" for s in outs)
        origin = "person" if by_person else self._origin(deciding["write_uid"])
        evidence = _evidence(self.subscription, deciding)
        return (container, address, email, status, _said_at(deciding), origin, evidence)

    # -- who did it

    def _learn(self, uids: Iterable[int]) -> None:
        """Look up users not met before: the website's public user and portal users are recipients."""
        new = sorted(set(uids) - set(self._actors))
        if not new:
            return
        own = self.wire.session().uid
        known = {"login", "share"} & set(self.meta.fields("res.users"))
        for user in self.wire.search_read("res.users", [["id", "in", new]], sorted(known)):
            origin: Origin = "user"
            if user["id"] == own:
                origin = "self"
            elif user["id"] == ODOOBOT:
                origin = "api"
            elif user.get("login") == "public" or user.get("share"):
                origin = "person"
            self._actors[user["id"]] = origin

    def _origin(self, uid: Any) -> Origin:
        return self._actors.get(uid, "unknown") if uid else "unknown"


def _said_at(sub: Record) -> int | None:
    """When the status was set: the date of the opt-out, else of the last change, None for rows without dates."""
    dated = sub.get("opt_out_datetime") or sub.get("unsubscription_date") if sub["opt_out"] else False
    text = dated or sub["write_date"]
    return micros(text) if text else None


def _evidence(model: str, row: Record) -> str:
    reason = row.get("opt_out_reason_id")
    return f"{model}/{row['id']}" + (f":reason/{reason}" if reason else "")
