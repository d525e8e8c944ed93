"""A second, deliberately simple reading of the sandbox's mapping: who should be where, from the truth alone.

It imports nothing of syncd. Conditions and fields are looked up in ``mapping.yaml``; the segments' conditions, which are
expressions there, are written out in Python here. It takes one side after the other as the control API's world shows it;
orders, campaign answers and companies, which the world does not show, come from the simulator's tables.

What it knows of consent is the rule for a first link: whoever said no anywhere, in whatever record, is not mailed; a topic
that needs an opt-in needs one in a mapped field or list.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

Json = dict[str, Any]
UNITS = {"main": 12_345, "second": 67_890}
ODD = re.compile(r'["\s]|[^\x00-\x7f].*@|^[^@]{65,}@')
"""Addresses that one vendor takes and another refuses: nothing is expected of them but silence where somebody said no."""
ADDRESS = re.compile(r"[^\s@,;<>\"]+@[a-z0-9-]+(\.[a-z0-9-]+)+")


def address(text: Any) -> str | None:
    """The one spelling of an address, None when it is none."""
    if not isinstance(text, str) or not text.strip():
        return None
    local, _, domain = text.strip().lower().rpartition("@")
    try:
        plain = f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None
    if not ADDRESS.fullmatch(plain) or re.search(r"\.\.|\.@|@-|^\.|-\.", plain) or plain.endswith("@localhost"):
        return None
    return plain


@dataclass
class Person:
    """One human as far as the records tell. ``records`` in the order of sources, the freshest of each first."""

    records: list[Json] = field(default_factory=list)
    """Live records that the mapping's sources take."""
    all: list[Json] = field(default_factory=list)
    """Every record, also deleted, converted and archived ones."""
    refused: set[str] = field(default_factory=set)
    """Topics, and "*" for all mail."""
    wanted: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    undeliverable: bool = False

    def first(self, name: str) -> Any:
        return next((r[name] for r in self.records if r.get(name) not in (None, "")), None)

    @property
    def email(self) -> str | None:
        found: str | None = self.first("address")
        return found

    @property
    def addresses(self) -> set[str]:
        return {r["address"] for r in self.all if r["address"]}

    @property
    def ambiguous(self) -> bool:
        names: dict[str, set[str]] = defaultdict(set)
        for r in self.records:
            names[r["source"]].add(r["name"])
        return len(self.records) > 5 or any(len(n) > 1 for n in names.values())


@dataclass
class Truth:
    """The worlds of all sides, and the tables the worlds leave out."""

    salesforce: Json
    odoo: Json
    marketing_cloud: Json
    orders: list[Json]
    roles: list[Json]
    members: list[Json]
    accounts: Mapping[str, Json]
    now: float


def read(sandbox: Any, world: Any) -> Truth:
    """Everything as it is now. ``world(side)`` asks the control API."""
    tables = sandbox.salesforce.db.tables

    def rows(name: str) -> list[Json]:
        return [dict(r) for r in tables[name].rows.values() if not r.get("IsDeleted")]
    return Truth(world("salesforce"), world("odoo"), world("marketing_cloud"), rows("Opportunity"),
                 rows("OpportunityContactRole"), rows("CampaignMember"), {a["Id"]: a for a in rows("Account")},
                 sandbox.kernel.clock.now())


def mapping(path: Path) -> Json:
    return dict(YAML(typ="safe").load(path.read_text("utf-8")))


# --------------------------------------------------------------------------- records

def _name(*parts: Any) -> str:
    return unicodedata.normalize("NFKC", " ".join(str(p) for p in parts if p)).casefold().strip()


def _clean(text: Any) -> str | None:
    kept = "".join(c for c in str(text or "") if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")).strip()
    return kept or None


def _salesforce(truth: Truth) -> Iterator[Json]:
    responses: dict[str, int] = defaultdict(int)
    for member in truth.members:
        if member.get("HasResponded"):
            responses[member.get("ContactId") or ""] += 1
    orders = {o["Id"]: o for o in truth.orders}
    bought: dict[str, list[Json]] = defaultdict(list)
    for role in truth.roles:
        if role["OpportunityId"] in orders:
            bought[role["ContactId"]].append(orders[role["OpportunityId"]])
    for p in truth.salesforce["people"]:
        f, lead = p["fields"], p["object"] == "Lead"
        account = truth.accounts.get(f.get("AccountId") or "", {})
        yield {
            "id": p["id"], "source": f"sf.{p['object']}", "rank": int(lead), "address": address(p["email"]),
            "live": not p["deleted"] and not (lead and f.get("IsConverted")), "fields": f,
            "into": p.get("merged_into") or (f.get("ConvertedContactId") if lead else None),
            "opted_out": p["opted_out"], "modified": f["SystemModstamp"],
            "name": _name(f.get("FirstName"), f.get("LastName")),
            "first_name": _clean(f.get("FirstName")), "personas": f.get("Persona__c"),
            "company": f.get("Company") if lead else account.get("Name"),
            "industry": f.get("Industry") if lead else account.get("Industry"),
            "country": f.get("Country") if lead else f.get("MailingCountry"),
            "joined": datetime.fromisoformat(f["CreatedDate"]).timestamp(),
            "orders": bought.get(p["id"], []), "responses": responses.get(p["id"], 0)}


def _odoo(truth: Truth) -> Iterator[Json]:
    countries = {20: "Belgium", 57: "Germany", 75: "France", 233: "United States"}
    tags = dict(enumerate(("buyer", "decider", "tester", "partner"), 1))
    partners = {p["id"]: p["fields"] for p in truth.odoo["people"] if p["object"] == "res.partner"}
    won: dict[str, int] = defaultdict(int)
    for p in truth.odoo["people"]:
        if p["object"] == "crm.lead" and not p["deleted"] and p["fields"]["stage_id"] == 4:
            won[str(p["fields"]["partner_id"])] += 1
    for p in truth.odoo["people"]:
        f = p["fields"]
        if p["object"] != "res.partner":
            continue
        yield {
            "id": p["id"], "source": "odoo.res.partner", "rank": 2, "address": address(p["email"] or None),
            "live": not p["deleted"] and f["type"] == "contact" and not f["is_company"] and f["active"], "fields": f,
            "into": None, "opted_out": False, "modified": f["write_date"] or f["create_date"], "name": _name(f["name"]),
            "first_name": _clean((str(f["name"]).split() or [""])[0]),
            "personas": ";".join(tags[t] for t in f["category_id"]) or None,
            "company": partners.get(str(f["parent_id"]), {}).get("name"), "industry": None,
            "country": countries.get(f["country_id"]), "won": won.get(p["id"], 0),
            "joined": datetime.fromisoformat(f["create_date"] + "+00:00").timestamp()}


def people(truth: Truth, rules: Json) -> list[Person]:
    """Records grouped into people, with what was said about them anywhere."""
    records = [*_salesforce(truth), *_odoo(truth)]
    group = {r["id"]: {r["id"]} for r in records}
    by_address: dict[str, str] = {}
    for r in records:
        other = by_address.setdefault(r["address"], r["id"]) if r["address"] else None
        for one in (other, r["into"]):
            if one in group and group[one] is not group[r["id"]]:
                merged = group[one] | group[r["id"]]
                group.update(dict.fromkeys(merged, merged))
    found: dict[int, Person] = defaultdict(Person)
    for r in sorted(sorted(records, key=lambda r: r["modified"], reverse=True), key=lambda r: r["rank"]):
        person = found[id(group[r["id"]])]
        person.all.append(r)
        if r["live"]:
            person.records.append(r)
    said = _Said(truth, rules)
    for person in found.values():
        said.about(person)
    return list(found.values())


class _Said:
    """What every side says, by record, address and key."""

    def __init__(self, truth: Truth, rules: Json) -> None:
        self.rules = rules
        self.by_address: dict[str, set[str]] = defaultdict(set)
        self.joined: dict[str, set[str]] = defaultdict(set)
        self.keys: dict[str, set[str]] = defaultdict(set)
        self.held: set[str] = set()
        self.by_key: dict[str, set[str]] = defaultdict(set)
        for p in truth.odoo["people"]:
            where = address(p["fields"].get("email_normalized") or None)
            if where is None:
                continue
            if p["opted_out"]:
                self.by_address[where].add("*")
            for topic, state in p["topics"].items():
                if state is False:
                    self.by_address[where].add(topic)
                elif state:
                    self.joined[where].add(topic)
        for s in truth.marketing_cloud["subscribers"]:
            where = address(s["email"]) or ""
            self.keys[where].add(s["key"])
            if s["status"] == "Unsubscribed":
                self._refuse(s, where, "*")
            if s["status"] == "Held":
                self.held.add(where)
            for topic, status in s["topics"].items():
                if status == "Unsubscribed":
                    self._refuse(s, where, topic)

    def _refuse(self, subscriber: Json, where: str, what: str) -> None:
        self.by_address[where].add(what)
        self.by_key[subscriber["key"]].add(what)

    def about(self, person: Person) -> None:
        for where in person.addresses:
            person.refused |= self.by_address[where]
            person.keys |= self.keys[where]
        for r in person.all:
            person.refused |= self.by_key[r["id"]] | ({"*"} if r["opted_out"] else set())
            for topic, meaning in self._flags(r):
                if meaning == "opt_out":
                    person.refused.add(topic)
                elif meaning == "opt_in":
                    person.wanted.add(topic)
        email = person.email
        if email is not None:
            person.undeliverable = email in self.held
            person.wanted |= {t for t in self.joined[email] if self.rules["topics"][t]["opt_in"] == "required"}

    def _flags(self, record: Json) -> Iterator[tuple[str, str]]:
        for topic, rule in self.rules["topics"].items():
            flag = rule["consent"].get(record["source"])
            if flag is None:
                continue
            value = record["fields"].get(flag["field"])
            words = flag.get("values") or {True: flag.get("true"), False: flag.get("false")}
            meaning = words.get(value, "unknown")
            if rule["opt_in"] == "confirmed" and meaning == "opt_in" and (
                    record["fields"].get(flag["method"]) != "double opt-in"):
                meaning = "unknown"
            yield topic, meaning


# --------------------------------------------------------------------------- audiences

@dataclass
class Facts:
    """The mapping's attributes of one person."""

    person: Person
    today: date
    now: float

    def _won(self) -> list[Json]:
        return [o for r in self.person.all for o in r.get("orders", ()) if o["StageName"] == "Closed Won"]

    def _sum(self, orders: Iterable[Json]) -> Decimal | None:
        amounts = [Decimal(str(o["Amount"])) for o in orders if o["CurrencyIsoCode"] == "EUR"]
        return sum(amounts, Decimal()) if amounts else None

    @property
    def spent(self) -> Decimal | None:
        return self._sum(self._won())

    @property
    def spent_2020(self) -> Decimal | None:
        return self._sum(o for o in self._won() if o["CloseDate"].startswith("2020-"))

    @property
    def last_order(self) -> str | None:
        return max((o["CloseDate"] for o in self._won()), default=None)

    @property
    def responses(self) -> int:
        return sum(r.get("responses", 0) for r in self.person.all)

    @property
    def lifecycle(self) -> str:
        if (self.spent or 0) > 0 or any(r.get("won") for r in self.person.all):
            return "customer"
        return "lead" if self.responses else "prospect"

    def personas(self) -> set[str]:
        return set((self.person.first("personas") or "").split(";")) - {""}


def segments(facts: Facts) -> dict[str, bool | None]:
    """Whether a person fits each segment; None = too near a limit in time to say."""
    recent = facts.last_order
    edge = facts.today - timedelta(days=90)
    joined = facts.person.first("joined")
    age = facts.now - joined
    return {
        "spent_over_100_2020": (facts.spent_2020 or 0) > 100, "top_100_customers": (facts.spent or 0) > 0,
        "campaign_responders": facts.responses > 0, "country_germany": facts.person.first("country") == "Germany",
        "buyers": "buyer" in facts.personas(), "customers": facts.lifecycle == "customer",
        "recent_customers": False if recent is None else
        None if abs((date.fromisoformat(recent) - edge).days) < 2 else date.fromisoformat(recent) > edge,
        "industry_technology": facts.person.first("industry") in ("Technology", "Energy"),
        "newcomers": None if abs(age - 720 * 3600) < 7200 else age < 720 * 3600,
        "reminders_customers": facts.lifecycle == "customer"}


@dataclass
class Wanted:
    """What the mapping wants: ``rows`` audience -> address -> person; ``unsure`` audience -> addresses nobody can judge."""

    rows: dict[str, dict[str, Person]]
    unsure: dict[str, set[str]]
    people: list[Person]

    def blocked(self, topic: str) -> set[str]:
        """Addresses at which the topic was refused, or all mail."""
        return {a for p in self.people if p.refused & {topic, "*"} for a in p.addresses}


def topics_of(rules: Json) -> dict[str, str]:
    """Audience -> topic, of everything delivered."""
    found: dict[str, str] = {}
    for destination in rules["destinations"].values():
        found |= {t: t for t in destination["topics"]}
        found |= {s: rules["segments"][s]["topic"] for s in destination["segments"]}
    return found


def wanted(truth: Truth, rules: Json) -> Wanted:
    """Who should be in which audience."""
    everyone = people(truth, rules)
    today = datetime.fromtimestamp(truth.now, UTC).date()
    audiences = topics_of(rules)
    rows: dict[str, dict[str, Person]] = {a: {} for a in audiences}
    unsure: dict[str, set[str]] = {a: set() for a in audiences}
    ranked: list[tuple[Decimal, str, Person]] = []
    for person in everyone:
        email = person.email
        if email is None or person.ambiguous or person.undeliverable:
            continue
        facts = Facts(person, today, truth.now)
        fits = segments(facts)
        for audience, topic in audiences.items():
            rule = rules["topics"][topic]
            if person.refused & {topic, "*"} or (rule["opt_in"] != "none" and topic not in person.wanted):
                continue
            if rule.get("personas") and not facts.personas() & set(rule["personas"]):
                continue
            fit = fits.get(audience, True)
            if fit is None or (fit and ODD.search(email)):
                unsure[audience].add(email)
            elif fit and audience == "top_100_customers":
                ranked.append((facts.spent or Decimal(), email, person))
            elif fit:
                rows[audience][email] = person
    ranked.sort(key=lambda r: r[0], reverse=True)
    limit = rules["segments"]["top_100_customers"]["limit"]
    last = ranked[limit - 1][0] if len(ranked) >= limit else None
    for spent, email, person in ranked:
        if last is None or spent > last:
            rows["top_100_customers"][email] = person
        elif spent == last:
            unsure["top_100_customers"].add(email)
    return Wanted(rows, unsure, everyone)
