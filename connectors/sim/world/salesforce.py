"""The population as Salesforce holds it: accounts, contacts, leads, person accounts, orders, campaigns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from connectors.sim.salesforce.ids import ALPHABET, long_form
from connectors.sim.world import names
from connectors.sim.world.layout import TOPICS
from connectors.sim.world.people import DAY, Dice, Human, Population

Row = dict[str, Any]
Tables = dict[str, list[Row]]

CAMPAIGNS = ("Spring Fair", "Webinar Basics", "Partner Day")
MAX_EMAIL = 80
_REFUSED = frozenset(("none", "invalid", "quoted", "long", "double", "named"))
"""Kinds of address Salesforce never let in: these people have a record without one."""


def record_id(prefix: str, number: int) -> str:
    """An id of this world: of a pod of its own, so that it never meets one the simulator hands out."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits
    return long_form(f"{prefix}5gW{digits.rjust(9, '0')}")


def contact_id(human: Human) -> str:
    return record_id("003", human.number + 1)


def lead_id(human: Human) -> str:
    return record_id("00Q", human.number + 1)


def address(human: Human, dice: Dice) -> str | None:
    """The address as Salesforce has it: trimmed, domains as machines write them, at times in other case."""
    if human.odd in _REFUSED:
        return None
    text = f"{human.local}@{human.machine_domain}"
    text = text.upper() if human.odd != "unicode" and dice.chance(40) else text
    return text if len(text) <= MAX_EMAIL else None


def _date(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


class SalesforceRows:
    """Makes Salesforce's tables for some people at a time; ``deleted`` and ``merged`` tell what employees do to them
    afterwards: ids of deleted contacts and leads, and (loser, winner) pairs of contacts."""

    def __init__(self, population: Population) -> None:
        self._all = population
        self.deleted: list[str] = []
        self.merged: list[tuple[str, str]] = []

    def furniture(self) -> Tables:
        """What is there before the first person: companies and campaigns."""
        since = self._all.today - 3_000 * DAY
        companies = map(self._all.company, range(self._all.companies))
        return {
            "Account": [{"Id": record_id("001", c.number + 1), "Name": c.name, "Industry": c.industry,
                         "BillingCountry": names.COUNTRIES[c.country][0], "CreatedDate": since} for c in companies],
            "Campaign": [{"Id": record_id("701", i + 1), "Name": name, "IsActive": True, "Status": "In Progress",
                          "CreatedDate": since} for i, name in enumerate(CAMPAIGNS)],
        }

    def tables(self, people: Iterable[Human]) -> Tables:
        """The rows of these people, parents first."""
        out: Tables = {name: [] for name in ("Account", "Contact", "Lead", "Opportunity", "OpportunityContactRole",
                                             "CampaignMember")}
        for human in people:
            if human.in_salesforce:
                self._person(human, out)
        return out

    # ------------------------------------------------------------------ people

    def _person(self, human: Human, out: Tables) -> None:
        dice = self._all.dice("salesforce", human.number)
        email, second = address(human, dice), address(human, dice)
        if human.shape != "lead":
            account = record_id("001", human.company + 1)
            if human.shape == "person_account":
                account = record_id("001", self._all.companies + human.number + 1)
                out["Account"].append({"Id": account, "IsPersonAccount": True, "PersonContactId": contact_id(human),
                                       **_stamps(human)})
            out["Contact"].append(self._contact(human, dice, email, account))
            self._orders(human, dice, account, out)
            self._copies(human, dice, email, account, out)
        if human.shape in ("lead", "lead_and_contact", "converted_lead"):
            out["Lead"].append(self._lead(human, dice, second))
        if dice.chance(150):
            self._member(human, dice, out)
        if human.shape in ("contact", "lead") and dice.chance(10):
            self.deleted.append(lead_id(human) if human.shape == "lead" else contact_id(human))

    def _common(self, human: Human, dice: Dice, email: str | None) -> Row:
        last = human.last if not dice.chance(3) else f"{human.last} {'of the very long name ' * 4}"[:80].strip()
        return {"FirstName": human.first, "LastName": last, "Email": email,
                "HasOptedOutOfEmail": human.opted_out and not dice.chance(100),
                "Persona__c": ";".join(human.personas) or None,
                "Legacy_Id__c": f"L{human.number:07}", **self._consent(human), **_stamps(human)}

    def _consent(self, human: Human) -> Row:
        row: Row = {}
        for topic in TOPICS:
            wish = self._all.wish(human, topic.id, "salesforce")
            held = topic.salesforce
            if wish.state is None:
                continue
            row[held["field"]] = held.get("true", True) if wish.state else held.get("false", False)
            if topic.id == "academy" and wish.state and wish.method != "double opt-in":
                row[held["field"]] = "Requested"
            if "method" in held:
                row[held["method"]], row[held["said_at"]] = wish.method, wish.at
        return row

    def _contact(self, human: Human, dice: Dice, email: str | None, account: str) -> Row:
        return {"Id": contact_id(human), **self._common(human, dice, email), "AccountId": account,
                "MailingCountry": names.COUNTRIES[human.country][0]}

    def _lead(self, human: Human, dice: Dice, email: str | None) -> Row:
        company = self._all.company(human.company)
        row = {"Id": lead_id(human), **self._common(human, dice, email), "Company": company.name,
               "Country": names.COUNTRIES[human.country][0], "Industry": company.industry,
               "Status": "Open - Not Contacted"}
        if human.shape == "lead_and_contact":
            # The same human twice, and not always of one mind.
            row["HasOptedOutOfEmail"] = row["HasOptedOutOfEmail"] or dice.chance(150)
        if human.shape == "converted_lead":
            row |= {"IsConverted": True, "Status": "Closed - Converted", "ConvertedDate": _date(human.changed),
                    "ConvertedContactId": contact_id(human), "ConvertedAccountId": record_id("001", human.company + 1)}
        return row

    def _copies(self, human: Human, dice: Dice, email: str | None, account: str, out: Tables) -> None:
        """A second contact of the same human: at times the one that opted out, at times merged away."""
        if human.shape != "contact" or not dice.chance(8):
            return
        copy = record_id("003", self._all.size + human.number + 1)
        merged = dice.chance(500)
        out["Contact"].append({**self._contact(human, dice, email, account), "Id": copy,
                               "HasOptedOutOfEmail": not merged and dice.chance(500)})
        if merged:
            self.merged.append((copy, contact_id(human)))

    # ------------------------------------------------------------------ behaviour

    def _orders(self, human: Human, dice: Dice, account: str, out: Tables) -> None:
        if not dice.chance(350):
            return
        for n in range(1 + dice.below(3)):
            number = human.number * 4 + n + 1
            opportunity = record_id("006", number)
            closed = self._closed(dice)
            won = dice.chance(700)
            out["Opportunity"].append({
                "Id": opportunity, "Name": f"Order {number}", "AccountId": account, "CloseDate": closed,
                "StageName": "Closed Won" if won else dice.pick(("Closed Lost", "Prospecting", "Proposal")),
                "Amount": (500 + dice.below(60_000)) / 100, "CurrencyIsoCode": "USD" if dice.chance(30) else "EUR",
                "CreatedDate": human.joined})
            out["OpportunityContactRole"].append({
                "Id": record_id("00K", number), "OpportunityId": opportunity, "ContactId": contact_id(human),
                "Role": "Decision Maker", "IsPrimary": True, "CreatedDate": human.joined})

    def _closed(self, dice: Dice) -> str:
        """Four in ten orders are of 2020, one or two of the last weeks, the others of some year since."""
        kind, days = dice.below(100), dice.below(365)
        if kind < 40:
            return _date(1_577_836_800 + days * DAY)
        return _date(self._all.today - (days % 120 if kind < 55 else days * 5 + 1) * DAY)

    def _member(self, human: Human, dice: Dice, out: Tables) -> None:
        status = dice.pick(("Sent", "Sent", "Responded"))
        row = {"Id": record_id("00v", human.number + 1), "CampaignId": record_id("701", 1 + dice.below(len(CAMPAIGNS))),
               "Status": status, "HasResponded": status == "Responded", "CreatedDate": human.changed}
        row |= {"LeadId": lead_id(human)} if human.shape == "lead" else {"ContactId": contact_id(human)}
        out["CampaignMember"].append(row)


def _stamps(human: Human) -> Row:
    return {"CreatedDate": human.joined, "LastModifiedDate": human.changed}


def bench_contacts(population: Population) -> Iterator[Row]:
    """The plain world of the benchmark: one contact each, with as few fields as a contact can have."""
    first, last, domains = names.FIRST, names.LAST, names.DOMAINS
    for number in range(population.size):
        yield {"Id": record_id("003", number + 1), "FirstName": first[number % len(first)],
               "LastName": last[number % len(last)], "Email": f"p{number}@{domains[number % len(domains)]}",
               "CreatedDate": population.today - 30 * DAY + number // 1_000}
