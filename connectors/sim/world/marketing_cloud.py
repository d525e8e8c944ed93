"""The population as Marketing Cloud knows it before syncd: some of the people, some under other keys, and strangers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connectors.sim.world.layout import AUDIENCES, MAIN, SECOND, TOPICS
from connectors.sim.world.odoo import partner_id
from connectors.sim.world.people import Dice, Human, Population
from connectors.sim.world.salesforce import contact_id, lead_id

Row = dict[str, Any]
Tables = dict[str, list[Row]]

MOST_STRANGERS = 2_000
FOREIGN_ROWS = ("NEWS_ALL", "OFFERS_ALL")
"""Data extensions that somebody has put rows into by hand."""


def crm_key(human: Human) -> str:
    """The key a tenant keyed by CRM ids has for this human: Salesforce's id, else Odoo's."""
    if human.in_salesforce:
        return lead_id(human) if human.shape == "lead" else contact_id(human)
    return str(partner_id(human))


class MarketingCloudRows:
    """Makes Marketing Cloud's tables for some people at a time."""

    def __init__(self, population: Population) -> None:
        self._all = population

    def furniture(self) -> Tables:
        """Lists, data extensions, and list members whom no CRM knows."""
        out: Tables = {
            "List": [{"ID": t.publication, "ListName": t.id.title(), "Client.ID": t.unit} for t in TOPICS],
            "DataExtension": [a.definition for a in AUDIENCES if a.made],
            "Subscriber": [], "ListSubscriber": [], **{f"DataExtensionObject[{key}]": [] for key in FOREIGN_ROWS},
        }
        for number in range(min(MOST_STRANGERS, self._all.size // 10)):
            self._stranger(number, out)
        return out

    def tables(self, people: Iterable[Human]) -> Tables:
        """The rows of these people."""
        out: Tables = {"Subscriber": [], "ListSubscriber": [], "AutoSuppression": []}
        for human in people:
            dice = self._all.dice("marketing_cloud", human.number)
            if human.plain is not None and dice.chance(300):
                self._person(human, human.plain, dice, out)
        return out

    def _stranger(self, number: int, out: Tables) -> None:
        dice = self._all.dice("stranger", number)
        key, email = f"EXT-{number:06}", f"stranger.{number}@elsewhere.example"
        out["Subscriber"].append({"SubscriberKey": key, "EmailAddress": email,
                                  "Status": "Unsubscribed" if dice.chance(30) else "Active"})
        topic = dice.pick(TOPICS)
        left = dice.chance(60)
        out["ListSubscriber"].append({"ListID": topic.publication, "SubscriberKey": key,
                                      "Status": "Unsubscribed" if left else "Active"})
        if number % 20 == 0:
            table = f"DataExtensionObject[{FOREIGN_ROWS[number // 20 % 2]}]"
            out[table].append({"SubscriberKey": key, "EmailAddress": email, "FirstName": "Stranger"})

    def _person(self, human: Human, email: str, dice: Dice, out: Tables) -> None:
        key = crm_key(human)
        if dice.chance(333):
            key = email if dice.chance(500) else f"L{human.number:07}"
            if key == email and human.odd == "shared":
                key = f"L{human.number:07}"  # one row cannot be two people
        row: Row = {"SubscriberKey": key, "EmailAddress": email,
                    "Status": dice.share((("Unsubscribed", 25), ("Held", 15), ("Bounced", 8)), "Active")}
        if dice.chance(8):
            row["Units"] = [SECOND]
        out["Subscriber"].append(row)
        self._members(human, key, dice, out)
        if dice.chance(15) and key != email and human.odd != "shared":
            # An old row under the address, whose status nobody looks at any more.
            out["Subscriber"].append({"SubscriberKey": email, "EmailAddress": email,
                                      "Status": "Unsubscribed" if dice.chance(500) else "Active"})
        if dice.chance(5):
            out["AutoSuppression"].append({"EmailAddress": email, "Client.ID": MAIN})

    def _members(self, human: Human, key: str, dice: Dice, out: Tables) -> None:
        """Lists as the person's wishes have it, mostly."""
        side = "salesforce" if human.in_salesforce else "odoo"
        for topic in TOPICS:
            state = self._all.wish(human, topic.id, side).state
            if dice.chance(40):
                state = not state  # told here and nowhere else
            if state is None and not dice.chance(200):
                continue
            out["ListSubscriber"].append({"ListID": topic.publication, "SubscriberKey": key,
                                          "Status": "Unsubscribed" if state is False else "Active"})
