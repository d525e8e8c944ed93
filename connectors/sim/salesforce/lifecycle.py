"""What happens to whole rows: delete, bin, undelete, purge, merge, lead conversion; and what getDeleted tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from . import standard, values
from .db import Database, Row
from .errors import Refused
from .rules import compact
from .save import Actor, Writer, lock_row


class Deletion(NamedTuple):
    """One entry of the delete log. ``root`` is the row whose deletion took this one along, or the row itself."""

    at: int
    object: str
    record: str
    root: str


_CONVERTED = ("FirstName", "LastName", "Salutation", "Email", "Title", "Phone", "MobilePhone", "Fax", "LeadSource",
              "Description",
              "HasOptedOutOfEmail", "HasOptedOutOfFax", "DoNotCall")
_ADDRESS = ("Street", "City", "State", "PostalCode", "Country")


class Lifecycle:
    """Works on the writer's database; every method is one transaction of its caller."""

    def __init__(self, db: Database, writer: Writer) -> None:
        self.db = db
        self.writer = writer
        self.log: list[Deletion] = []

    # ------------------------------------------------------------------ delete

    def delete(self, object: str, record: str, actor: Actor, *, hard: bool = False) -> None:
        """To the bin, with what hangs off it; ``hard`` = past the bin.

        :raises Refused:
        """
        row = self.writer.existing(object, record)
        if record in self.writer.locked:
            raise lock_row(record)
        pair = self._other_half(object, row)
        self._bin(object, row, record, actor)
        if pair is not None:
            self._bin(pair[0], pair[1], record, actor)
        if hard:
            for gone in [d for d in self.log if d.root == record]:
                self.db.drop(gone.object, gone.record)

    def _other_half(self, object: str, row: Row) -> tuple[str, Row] | None:
        """The other row of a person account."""
        if object == "Account" and row.get("PersonContactId"):
            return "Contact", self.db.tables["Contact"].rows[row["PersonContactId"]]
        if object == "Contact" and row.get("AccountId"):
            account = self.db.tables["Account"].rows.get(row["AccountId"])
            if account is not None and account.get("PersonContactId") == row["Id"]:
                return "Account", account
        return None

    def _bin(self, object: str, row: Row, root: str, actor: Actor, **marks: Any) -> None:
        """One row and its dependants. Rows that have no bin vanish, unless an opportunity takes its roles along."""
        if row.get("IsDeleted"):
            return
        now = self.writer.now()
        keeps = object not in standard.NO_BIN or (object == "OpportunityContactRole" and root != row["Id"])
        if not keeps:
            self.db.drop(object, row["Id"])
            return
        self.db.put(object, {**row, "IsDeleted": True, "SystemModstamp": now, "LastModifiedDate": now,
                             "LastModifiedById": actor.user, **marks})
        self.log.append(Deletion(now, object, row["Id"], root))
        for child, reference in standard.CHILDREN.get(object, ()):
            if (object, child) == ("Contact", "OpportunityContactRole"):
                continue  # the role stays and points to a deleted contact
            for dependant in self.db.tables[child].lookup(reference, [row["Id"]]):
                self._bin(child, dependant, root, actor)

    def undelete(self, object: str, record: str, actor: Actor) -> None:
        """Out of the bin, with everything that went along.

        :raises Refused: UNDELETE_FAILED
        """
        row = self.db.tables[object].rows.get(record)
        if row is None or not row.get("IsDeleted") or object in standard.NO_BIN:
            raise Refused("UNDELETE_FAILED", "Entity is not in the recycle bin")
        now = self.writer.now()
        for gone in [d for d in self.log if d.root == record]:
            lost = self.db.tables[gone.object].rows.get(gone.record)
            if lost is not None and lost.get("IsDeleted"):
                self.db.put(gone.object, compact({
                    **lost, "IsDeleted": False, "MasterRecordId": None, "SystemModstamp": now, "LastModifiedDate": now,
                    "LastModifiedById": actor.user}))
        self.log = [d for d in self.log if d.root != record]

    def purge(self, older_than: float | None = None) -> int:
        """Empty the bin (of what was deleted before ``older_than``); the number of rows that vanished."""
        count = 0
        for gone in self.log:
            if older_than is not None and gone.at >= older_than:
                break
            row = self.db.tables[gone.object].rows.get(gone.record)
            if row is not None and row.get("IsDeleted"):
                self.db.drop(gone.object, gone.record)
                count += 1
        return count

    def expire(self, now: float, bin_days: float) -> None:
        """Empty the bin of what is too old, and forget the log's entries of the past month."""
        if self.log and self.log[0].at < now - bin_days * 86400:
            self.purge(now - bin_days * 86400)
            self.log = [d for d in self.log if d.at >= now - max(bin_days, 15.0) * 86400]

    def deleted(self, object: str, start: int, end: int) -> list[tuple[str, int]]:
        """(id, deleted at) of rows that went between the two instants and have not come back."""
        rows = self.db.tables[object].rows
        return [(d.record, d.at) for d in self.log if d.object == object and start <= d.at <= end
                and (d.record not in rows or rows[d.record].get("IsDeleted"))]

    # ------------------------------------------------------------------ merge

    def merge(self, object: str, loser: str, winner: str, chosen: Mapping[str, Any], actor: Actor) -> None:
        """``loser`` goes to the bin with MasterRecordId; its dependants move; the winner changes only in ``chosen``.

        :raises Refused:
        """
        if object not in ("Account", "Contact", "Lead") or loser == winner:
            raise Refused("INVALID_OPERATION", f"cannot merge {object}")
        lost, kept = self.writer.existing(object, loser), self.writer.existing(object, winner)
        lost_half, kept_half = self._other_half(object, lost), self._other_half(object, kept)
        if (lost_half is None) != (kept_half is None):
            raise Refused("INVALID_OPERATION", "a person account merges with a person account only")
        self._reparent(object, loser, winner, actor)
        if chosen:
            self.writer.update(object, winner, chosen, actor)
        if lost_half is not None and kept_half is not None:
            self._reparent(lost_half[0], lost_half[1]["Id"], kept_half[1]["Id"], actor)
            lost = self.db.tables[object].rows[loser]
            self._bin(lost_half[0], self.db.tables[lost_half[0]].rows[lost_half[1]["Id"]], loser, actor,
                      MasterRecordId=kept_half[1]["Id"])
        self._bin(object, lost, loser, actor, MasterRecordId=winner)

    def _reparent(self, object: str, loser: str, winner: str, actor: Actor) -> None:
        now = self.writer.now()
        for child, reference in standard.CHILDREN.get(object, ()):
            kept_campaigns = {m.get("CampaignId") for m in self.db.tables[child].lookup(reference, [winner])}
            for row in self.db.tables[child].lookup(reference, [loser]):
                if child == "Contact" and self._other_half("Contact", row) is not None:
                    continue  # the person half is merged by itself
                if child == "CampaignMember" and row.get("CampaignId") in kept_campaigns:
                    self.db.drop(child, row["Id"])
                else:
                    self.db.put(child, {**row, reference: winner, "LastModifiedDate": now, "SystemModstamp": now,
                                        "LastModifiedById": actor.user})

    # ------------------------------------------------------------------ convert

    def convert(self, lead_id: str, contact_id: str | None, actor: Actor,
                opportunity: str | None = None) -> dict[str, str]:
        """Make the lead a contact (or fill the empty fields of an existing one); ids of what it became.

        Opt-outs reach a *new* contact only; custom fields only as ``lead_conversion`` maps them.

        :raises Refused:
        """
        lead = self.writer.existing("Lead", lead_id)
        if lead.get("IsConverted"):
            raise Refused("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        carried = {n: lead[n] for n in _CONVERTED if n in lead}
        carried |= {"Mailing" + n: lead[n] for n in _ADDRESS if n in lead}
        carried |= {to: lead[source] for source, to in self.writer.options.lead_conversion.items() if source in lead}
        if contact_id is None:
            account_id, contact_id = self._new_contact(lead, carried, actor)
        else:
            contact = self.writer.existing("Contact", contact_id)
            account_id = contact.get("AccountId") or ""
            fields = self.db.schema["Contact"].fields
            empty = {n: v for n, v in carried.items() if contact.get(n) is None and fields[n].type != "boolean"}
            self.writer.store("Contact", contact, empty, actor)
        became = {"ConvertedAccountId": account_id, "ConvertedContactId": contact_id}
        if opportunity is not None:
            became["ConvertedOpportunityId"] = self._opportunity(opportunity, account_id, contact_id, actor)
        now = self.writer.now()
        current = self.db.tables["Lead"].rows[lead_id]
        self.db.put("Lead", compact({**current, **became, "IsConverted": True, "ConvertedDate": values.today(now),
                                     "Status": "Closed - Converted", "SystemModstamp": now, "LastModifiedDate": now,
                                     "LastModifiedById": actor.user}))
        self._move_memberships(lead_id, contact_id, actor)
        return became

    def _new_contact(self, lead: Row, carried: Row, actor: Actor) -> tuple[str, str]:
        if not lead.get("Company"):
            fields = {f.person: f.name for f in self.db.schema["Account"].fields.values() if f.person}
            account_id = self.writer.create("Account", {fields[n]: v for n, v in carried.items() if n in fields}, actor)
            return account_id, str(self.db.tables["Account"].rows[account_id]["PersonContactId"])
        billing = {"Billing" + n: lead[n] for n in _ADDRESS if n in lead}
        account_id = self.writer.create("Account", {"Name": lead["Company"], **billing}, actor)
        return account_id, self.writer.create("Contact", {**carried, "AccountId": account_id}, actor)

    def _opportunity(self, name: str, account_id: str, contact_id: str, actor: Actor) -> str:
        new = self.writer.create("Opportunity", {
            "Name": name, "AccountId": account_id or None, "StageName": "Prospecting",
            "CloseDate": values.today(self.writer.now())}, actor)
        role = {"OpportunityId": new, "ContactId": contact_id, "IsPrimary": True}
        self.writer.create("OpportunityContactRole", role, actor)
        return new

    def _move_memberships(self, lead_id: str, contact_id: str, actor: Actor) -> None:
        now = self.writer.now()
        members = self.db.tables["CampaignMember"]
        there = {m.get("CampaignId") for m in members.lookup("ContactId", [contact_id])}
        for member in members.lookup("LeadId", [lead_id]):
            if member.get("CampaignId") in there:
                self.db.drop("CampaignMember", member["Id"])
            else:
                self.db.put("CampaignMember", compact({
                    **member, "LeadId": None, "ContactId": contact_id, "SystemModstamp": now, "LastModifiedDate": now,
                    "LastModifiedById": actor.user}))
