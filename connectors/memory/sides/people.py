"""Invented people, as messy as in a real CRM: odd spellings, shared and missing addresses, names of all scripts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from syncd.model import FieldInfo, Value

_FIRST = ("Ana", "Björn", "Chloë", "Дмитрий", "Eun-ji", "Fátima", "Grzegorz", "Hélène", "İpek", "José", "Kofi",
          "李", "Mia", "Ngọc", "O'Neil", "Päivi", "Quentin", "Renée", "Siân", "Tomáš")
_LAST = ("Ångström", "Brown", "Çelik", "D'Angelo", "Éluard", "Fernández", "Großmann", "Hughes", "Ito", "Jones",
         "Kowalski", "Łukasik", "Müller", "Nguyễn", "O’Connor", "Perez", "Šimić", "van der Berg", "Wang", "Øster")
_COMPANIES = ("Acme & Sons", "Beta <Labs>", "Çınar A.Ş.", 'The "Quote" Company', "Société de Thé", "株式会社 星")
_PERSONAS = ("buyer", "decider", "influencer", "student")


def invent(rng: random.Random, first: int, count: int, fields: Mapping[str, FieldInfo], flags: Mapping[str, float], *,
           messy: bool) -> Iterator[dict[str, Value]]:
    """``count`` people for the fields named email, first_name, last_name, company, city, personas, spent, born, score.

    :param flags: boolean fields and the share of people for whom each is true
    :param messy: some have no address, share one, spell it oddly, or have an emoji in the name
    """
    used: list[str] = []
    for number in range(first + 1, first + count + 1):
        person: dict[str, Value] = {
            "email": f"person{number}@mail{number % 7}.example",
            "first_name": rng.choice(_FIRST), "last_name": rng.choice(_LAST), "company": rng.choice(_COMPANIES),
            "city": rng.choice(("Köln", "Łódź", "São Paulo", "Bath")),
            "personas": f";{';'.join(sorted(rng.sample(_PERSONAS, rng.randint(1, 2))))};",
            "spent": f"{rng.randrange(0, 500_000) / 100:.2f}", "score": rng.randrange(101),
            "born": f"{rng.randrange(1940, 2006)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
        }
        if messy:
            _mess(rng, person, used)
        if person["email"] is not None:
            used.append(str(person["email"]))
        person.update({flag: int(rng.random() < share) for flag, share in flags.items()})
        yield {name: value for name, value in person.items() if name in fields}


def _mess(rng: random.Random, person: dict[str, Value], used: list[str]) -> None:
    """Spoil one person in ten."""
    kind, email = rng.randrange(60), str(person["email"])
    if kind == 0:
        person["email"] = None
    elif kind == 1 and used:
        person["email"] = rng.choice(used)
    elif kind == 2:
        person["email"] = email.replace("person", "Person").upper()
    elif kind == 3:
        person["email"] = email.replace("@", "+news@")
    elif kind == 4:
        person["first_name"] = f"{person['first_name']} 🦊"
    elif kind == 5:
        person["company"] = None
