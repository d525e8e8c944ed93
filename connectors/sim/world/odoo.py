"""The population as Odoo holds it: partners, mailing contacts, subscriptions, blacklist, opportunities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connectors.sim.odoo.access import ADMIN, PUBLIC, SUPERUSER
from connectors.sim.odoo.values import normalize_email
from connectors.sim.world import names
from connectors.sim.world.layout import TOPICS
from connectors.sim.world.people import DAY, Dice, Human, Population

Row = dict[str, Any]
Tables = dict[str, list[Row]]

COMPANIES, PEOPLE, INVOICES = 1_000, 1_000_000, 10_000_000
"""Where the ids of companies, of people and of their invoice addresses begin."""
LONG_NAME = 5_000
BOUNCES = 5


def partner_id(human: Human) -> int:
    return PEOPLE + human.number


def address(human: Human, dice: Dice) -> str | None:
    """The address as somebody typed it into Odoo, which takes anything."""
    if human.odd == "none":
        return None
    text = f"{human.local}@{human.domain}" if human.domain else human.local
    if human.odd == "space":
        return f"{text} "
    if human.odd == "named":
        return f"{human.first} <{text}>"
    if human.odd == "double":
        return f"{text}; {human.local}@old.example"
    if human.in_salesforce and human.domain:
        # Both systems know this human; they do not always spell the address alike.
        kind = dice.below(10)
        if kind < 2:
            return text.title()
        if kind < 3:
            return f"{human.local}+odoo@{human.domain}"
    return text


class OdooRows:
    """Makes Odoo's tables for some people at a time; ``deleted`` are partners that an employee deletes afterwards."""

    def __init__(self, population: Population) -> None:
        self._all = population
        self.deleted: list[int] = []

    def furniture(self) -> Tables:
        """Companies, and the tags that tell personas."""
        since = (self._all.today - 3_000 * DAY) * 1_000_000
        companies = map(self._all.company, range(self._all.companies))
        return {
            "res.partner.category": [{"id": i + 1, "name": name, "active": True}
                                     for i, name in enumerate(names.PERSONAS)],
            "res.partner": [{"id": COMPANIES + c.number, "name": c.name, "is_company": True,
                             "country_id": names.COUNTRIES[c.country][1], "create_date": since, "write_date": since}
                            for c in companies],
        }

    def tables(self, people: Iterable[Human]) -> Tables:
        """The rows of these people, parents first."""
        out: Tables = {name: [] for name in ("res.partner", "mailing.contact", "mailing.subscription", "mail.blacklist",
                                             "mailing.trace", "crm.lead")}
        for human in people:
            if human.in_odoo:
                self._person(human, out)
        return out

    # ------------------------------------------------------------------ people

    def _person(self, human: Human, out: Tables) -> None:
        dice = self._all.dice("odoo", human.number)
        email = address(human, dice)
        name = f"{human.first} {human.last}"
        if human.number % 1_000 == 17:
            name = (f"{human.first}{human.last}" * LONG_NAME)[:LONG_NAME]
        created, written = _micros(human.joined, human), _micros(human.changed, human)
        stamps: Row = {"create_date": created, "write_date": written}
        if dice.chance(5):
            stamps["write_date"] = None  # imported with SQL: no write_date was ever set
        out["res.partner"].append({
            "id": partner_id(human), "name": name, "email": email or False, "type": "contact",
            "parent_id": COMPANIES + human.company if dice.chance(600) else False,
            "country_id": names.COUNTRIES[human.country][1], "lang": dice.pick(("en_US", "de_DE", "fr_FR")),
            "category_id": [names.PERSONAS.index(p) + 1 for p in human.personas],
            "active": not dice.chance(20), "ref": f"L{human.number:07}", **stamps})
        if dice.chance(30):
            out["res.partner"].append({"id": INVOICES + human.number, "name": name, "email": email or False,
                                       "type": "invoice", "parent_id": partner_id(human), **stamps})
        if dice.chance(10):
            self.deleted.append(partner_id(human))
        normal = normalize_email(email)
        if normal is not None:
            self._mailing(human, dice, normal, created, out)
            self._blacklist(human, dice, normal, written, out)
        if dice.chance(120):
            self._deal(human, dice, email, created, out)

    # ------------------------------------------------------------------ consent

    def _mailing(self, human: Human, dice: Dice, email: str, created: int, out: Tables) -> None:
        """Subscriptions as the person's wishes have it, and at times a second contact that knows better."""
        found = [(t.odoo, w) for t in TOPICS if (w := self._all.wish(human, t.id, "odoo")).state is not None]
        if not found:
            return
        copies = [human.number + 1]
        if dice.chance(12):
            copies.append(self._all.size + human.number + 1)
        for contact in copies:
            out["mailing.contact"].append({"id": contact, "name": f"{human.first} {human.last}", "email": email,
                                           "create_date": created, "write_date": created})
            for number, wish in found:
                opted_out = wish.state is False or (contact != copies[0] and dice.chance(300))
                at = created if wish.at is None else wish.at * 1_000_000
                row = {"contact_id": contact, "list_id": number, "opt_out": opted_out, "create_date": created,
                       "write_date": at, "write_uid": PUBLIC if wish.method else ADMIN}
                out["mailing.subscription"].append({**row, "opt_out_datetime": at} if opted_out else row)

    def _blacklist(self, human: Human, dice: Dice, email: str, written: int, out: Tables) -> None:
        """Rows are of addresses: the person's own doing, a colleague's, a removed one, or Odoo's after bounces."""
        kind = dice.below(1_000)
        row: Row = {"email": email, "active": True, "create_date": written, "write_date": written}
        if human.odd == "shared":
            return  # the address is somebody else's as well, and has one row at most
        if human.opted_out:
            writer = PUBLIC if kind < 700 else ADMIN
            out["mail.blacklist"].append({**row, "create_uid": writer, "write_uid": writer})
        elif kind < 10:
            out["mail.blacklist"].append({**row, "active": False, "create_uid": PUBLIC, "write_uid": ADMIN})
        elif kind < 15:
            out["mail.blacklist"].append({**row, "create_uid": SUPERUSER, "write_uid": SUPERUSER})
            out["mailing.trace"].extend({
                "email": email, "model": "res.partner", "res_id": partner_id(human), "trace_status": "bounce",
                "failure_type": "mail_bounce", "create_date": at, "write_date": at}
                for at in (written - week * 7 * DAY * 1_000_000 for week in range(BOUNCES, 0, -1)))

    # ------------------------------------------------------------------ behaviour

    def _deal(self, human: Human, dice: Dice, email: str | None, created: int, out: Tables) -> None:
        stage = dice.pick((1, 2, 4, 4))
        row = {"id": human.number + 1, "name": f"Deal {human.number}", "type": "opportunity", "stage_id": stage,
               "partner_id": partner_id(human), "email_from": email or False,
               "expected_revenue": float(50 + dice.below(5_000)), "create_date": created, "write_date": created}
        out["crm.lead"].append({**row, "date_closed": created, "probability": 100.0} if stage == 4 else row)


def _micros(at: int, human: Human) -> int:
    """Odoo's stamps have microseconds."""
    return at * 1_000_000 + human.number * 7_919 % 1_000_000
