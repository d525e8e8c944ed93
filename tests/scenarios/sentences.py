"""The sentences of the stories, each with what it does or what must be true."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.scenarios.worlds import AUDIENCES, BOXES, CONSENTS, LENGTHS, LISTS, Teller, about, misfit

Sentence = Callable[[Teller, re.Match[str]], None]
SENTENCES: list[tuple[re.Pattern[str], Sentence]] = []


def sentence(pattern: str) -> Callable[[Sentence], Sentence]:
    """Register what a sentence means."""
    def add(function: Sentence) -> Sentence:
        SENTENCES.append((re.compile(pattern), function))
        return function
    return add


def names(words: str) -> set[str]:
    return set() if words == "nobody" else set(re.split(r",\s*|\s+and\s+", words))


def tell(teller: Teller, path: Path) -> None:
    """Run one story.

    :raises AssertionError: something is not as the story says, or a sentence is not known; with the line's number
    """
    section, world = None, set[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#")[0].strip()
        if words in ("world", "people", "story", "then"):
            section = words
            if words == "people":
                teller.begin(world)
        elif section == "world" and words:
            world.add(words)
        elif section == "people" and words:
            who, _, rest = words.partition(":")
            *kind, name = who.split()
            teller.create(kind[0] if kind else None, name, about(rest.strip()))
        elif section and words:
            _say(teller, words, f"{path.name}:{number}")


def _say(teller: Teller, words: str, place: str) -> None:
    for pattern, function in SENTENCES:
        match = pattern.fullmatch(words)
        if match:
            try:
                function(teller, match)
            except AssertionError as error:
                raise AssertionError(f"{place}: {words}\n{error}") from error
            return
    raise AssertionError(f"{place}: nobody knows what this means: {words}")


# --------------------------------------------------------------------------- what happens

@sentence(r"syncd is linked")
def link(t: Teller, m: re.Match[str]) -> None:
    t.lab.link()


@sentence(r"syncd plans")
def make_plan(t: Teller, m: re.Match[str]) -> None:
    t.plan = t.lab.cycle(deliver=False).plan


@sentence(r"an admin approves the plan")
def approve_plan(t: Teller, m: re.Match[str]) -> None:
    assert t.plan is not None
    t.lab.approve(t.plan)


@sentence(r"syncd runs( once)?")
def run(t: Teller, m: re.Match[str]) -> None:
    t.lab.written()
    if m[1]:
        t.lab.cycle(wait=False)
    else:
        t.lab.settle()
    t.wrote = t.lab.written()


@sentence(r"syncd is restarted")
def restart(t: Teller, m: re.Match[str]) -> None:
    t.lab.reopen()


@sentence(r"syncd is restarted with a mapping that (names a field the CRM does not have|fits)")
def restart_with(t: Teller, m: re.Match[str]) -> None:
    t.lab.reopen(t.text if m[1] == "fits" else misfit(t.text))


@sentence(r"the service runs")
def serve(t: Teller, m: re.Match[str]) -> None:
    t.failed = set(t.lab.cycle(whole=False).pulled.failed)
    t.lab.cycle(whole=False)


@sentence(r"the service says that ([\w., ]+) (?:does|do) not fit")
def told(t: Teller, m: re.Match[str]) -> None:
    assert t.failed == names(m[1])


@sentence(r"(\d+|a|an) (minute|hour|day)s? pass(?:es)?")
def wait(t: Teller, m: re.Match[str]) -> None:
    t.lab.advance((1 if m[1] in ("a", "an") else int(m[1])) * LENGTHS[m[2]])


@sentence(r"(\w+) unsubscribes from (offers|news|everything)")
def unsubscribe(t: Teller, m: re.Match[str]) -> None:
    t.lab.unsubscribe(m[1], LISTS[m[2]])


@sentence(r"somebody unsubscribes the address of (\w+)")
def unsubscribe_address(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("mc", "unsubscribe", email=t.fields(m[1])["email"], keyed=False)


@sentence(r"(\w+) complains")
def complain(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("mc", "complain", email=f"{m[1]}@mail.example")


@sentence(r"mail to (\w+) bounces (\d) times")
def bounce(t: Teller, m: re.Match[str]) -> None:
    for _ in range(int(m[2])):
        t.lab.world.act("mc", "bounce", email=f"{m[1]}@mail.example")


@sentence(r"(\w+) comes back to (offers|news|everything) at the provider")
def come_back(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("mc", "resubscribe", email=f"{m[1]}@mail.example", list=LISTS[m[2]])


@sentence(r"a user at the provider subscribes (\w+) to everything")
def employee_subscribes(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("mc", "resubscribe", email=f"{m[1]}@mail.example", origin="user")


@sentence(r"(\w+) is asked at the provider to confirm (offers|news)")
def ask(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("mc", "import", list=LISTS[m[2]], members={t.lab.ids[m[1]]: t.fields(m[1])["email"]}, status="pending",
                    origin="person")


@sentence(r"(\w+) confirms (offers|news) at the provider")
def confirm(t: Teller, m: re.Match[str]) -> None:
    assert t.lab.world.act("mc", "confirm", email=t.fields(m[1])["email"], list=LISTS[m[2]])["changed"] == 1


@sentence(r"(\w+) (ticks offers on|confirms offers by the mail from) the web site(, without (a date|saying how))?")
def web(t: Teller, m: re.Match[str]) -> None:
    how = {"ticks offers on": "web"}.get(m[2], "double opt-in")
    t.edit(m[1], offers=1, offers_at=None if m[4] == "a date" else t.lab.now(),
           offers_how=None if m[4] == "saying how" else how)


@sentence(r"an admin records that (\w+) wants (offers|news|everything)")
def grant(t: Teller, m: re.Match[str]) -> None:
    t.grant(m[1], None if m[2] == "everything" else m[2])


@sentence(r"(\w+) is forgotten")
def forget(t: Teller, m: re.Match[str]) -> None:
    t.forget(m[1])


@sentence(r"an old list says that (\w+) refused (\w+)")
def old_list(t: Teller, m: re.Match[str]) -> None:
    t.list_says_no(m[1], None if m[2] == "everything" else m[2])


@sentence(r"(\w+) unsubscribes at the second CRM")
def unsubscribe_there(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("odoo", "unsubscribe", email=t.fields(m[1])["email"])


@sentence(r"the second CRM blacklists (\w+) (because of bounces|for an unknown reason)")
def blacklist(t: Teller, m: re.Match[str]) -> None:
    status, origin = ("held", "bounce") if "bounces" in m[2] else ("unsubscribed", "api")
    address = t.fields(m[1])["email"]
    t.lab.world.act("odoo", "import", list="", members={address: address}, status=status, origin=origin)


@sentence(r"the state is backed up")
def back_up(t: Teller, m: re.Match[str]) -> None:
    t.lab.app.store.backup(t.directory / "backup.db")


@sentence(r"the state is lost, and restored from the backup")
def restore(t: Teller, m: re.Match[str]) -> None:
    t.restore()


@sentence(r"a user (ticks|unticks) (offers|opted out|no news) for (\w+)")
def tick(t: Teller, m: re.Match[str]) -> None:
    t.edit(m[3], **{BOXES[m[2]]: int(m[1] == "ticks")})


@sentence(r"a user sets (\w+)'s consent to (news|all mail) to (\w+)")
def set_consent(t: Teller, m: re.Match[str]) -> None:
    t.edit(m[1], **{CONSENTS[m[2]]: m[3]})


@sentence(r"(\w+) consents to (news|all mail) on the web site")
def web_consent(t: Teller, m: re.Match[str]) -> None:
    name = CONSENTS[m[2]]
    t.edit(m[1], **{name: "OptIn", name + ".CaptureDate": t.lab.now(), name + ".CaptureSource": "web"})


@sentence(r"an import (ticks|unticks) (offers|opted out|no news) for everyone")
def mass_tick(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("sf", "mass_edit", object="Contact", where={}, set={BOXES[m[2]]: int(m[1] == "ticks")})


@sentence(r"a user changes (\w+): (.+)")
def change(t: Teller, m: re.Match[str]) -> None:
    t.edit(m[1], **about(m[2]))


@sentence(r"a user adds (?:(lead|partner) )?(\w+)(?:: (.+))?")
def add(t: Teller, m: re.Match[str]) -> None:
    t.create(m[1], m[2], about(m[3]))


@sentence(r"a user (deletes|archives|restores) (\w+)")
def delete(t: Teller, m: re.Match[str]) -> None:
    connection, object_ = t.place(m[2])
    do = "undelete" if m[1] == "restores" else "delete"  # to a reader, what is archived is deleted until it is back
    t.lab.world.act(connection, do, object=object_, id=t.lab.ids[m[2]])


@sentence(r"a user merges (\w+) into (\w+)(?:, keeping (.+))?")
def merge(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("sf", "merge", object=t.place(m[2])[1], id=t.lab.ids[m[1]], into=t.lab.ids[m[2]],
                    set=about(m[3]))


@sentence(r"a user converts (\w+)(?: into (\w+))?")
def convert(t: Teller, m: re.Match[str]) -> None:
    into = t.lab.ids[m[2]] if m[2] else None
    made = t.lab.world.act("sf", "convert", object="Lead", id=t.lab.ids[m[1]], to="Contact", into=into)
    if into is None:
        t.kinds[m[1]], t.lab.ids[m[1]] = "contact", made["id"]


@sentence(r"(\d+) more contacts are added")
def add_many(t: Teller, m: re.Match[str]) -> None:
    t.lab.contacts(int(m[1]), len(t.lab.ids))


@sentence(r"(\w+) is already on the list of (offers|news) at the provider(?: as ([\w-]+))?(, unsubscribed)?")
def member(t: Teller, m: re.Match[str]) -> None:
    key = m[3] or t.lab.ids.get(m[1], m[1])
    t.lab.world.act("mc", "import", list=LISTS[m[2]], members={key: f"{m[1]}@mail.example"},
                    status="unsubscribed" if m[4] else "subscribed")


@sentence(r"somebody at the provider removes (\w+) from the rows of (offers|news|rich|top)")
def remove_row(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("mc", "delete_rows", audience=AUDIENCES[m[2]], keys=[t.lab.ids[m[1]]])


@sentence(r"the (CRM|provider) (loses the next answer|is down|cannot be read)")
def fault(t: Teller, m: re.Match[str]) -> None:
    faults: dict[str, tuple[str, dict[str, Any]]] = {
        "loses the next answer": ("lose_reply", {"verb": "apply"}), "is down": ("outage", {"count": None}),
        "cannot be read": ("outage", {"count": None, "verb": "changes"})}
    name, details = faults[m[2]]
    t.lab.world.fault(name, connection={"CRM": "sf", "provider": "mc"}[m[1]], **details)


@sentence(r"the (?:CRM|provider) is back")
def mend(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.clear_faults()


@sentence(r"an admin (approves|rejects) the hold for (\w+)")
def verdict(t: Teller, m: re.Match[str]) -> None:
    t.lab.decide(m[2], {"approves": "approved", "rejects": "rejected"}[m[1]])


# --------------------------------------------------------------------------- what is true then

@sentence(r"(\w+) unsubscribes from all mail of the shop")
def unsubscribe_from_shop(t: Teller, m: re.Match[str]) -> None:
    t.lab.world.act("second", "unsubscribe", email=t.fields(m[1])["email"])


@sentence(r"mail of the shop goes to (.+)")
def shop_recipients(t: Teller, m: re.Match[str]) -> None:
    mailed = t.lab.world.send("second", "de:SHOP")["mailed"]
    assert {email.split("@")[0] for email in mailed} == names(m[1])


@sentence(r"(offers|news|rich|top) go to (.+)")
def recipients(t: Teller, m: re.Match[str]) -> None:
    got = t.lab.send(AUDIENCES[m[1]])
    assert got == names(m[2]), got


@sentence(r"the rows of (offers|news|rich|top) are (.+)")
def rows(t: Teller, m: re.Match[str]) -> None:
    assert t.lab.keys(AUDIENCES[m[1]]) == names(m[2])


@sentence(r"(\w+)'s (?:contact|lead|partner) says (.+)")
def contact_says(t: Teller, m: re.Match[str]) -> None:
    flags = t.fields(m[1])
    for part in m[2].split(", "):
        box, _, value = part.rpartition(" ")
        assert flags[BOXES[box]] == {"yes": 1, "no": 0}[value], part


@sentence(r"(\w+)'s consent to (news|all mail) is (\w+)")
def consent(t: Teller, m: re.Match[str]) -> None:
    assert str(t.fields(m[1])[CONSENTS[m[2]]] or "empty") == m[3]


@sentence(r"the provider holds ([\w-]+) as (\w+)(?: for (offers|news))?")
def status(t: Teller, m: re.Match[str]) -> None:
    assert t.lab.status(m[1], LISTS[m[3] or "everything"]) == m[2]


@sentence(r"the provider does not know (\w+)")
def unknown(t: Teller, m: re.Match[str]) -> None:
    assert t.lab.status(m[1]) is None


@sentence(r"nothing was written")
def nothing(t: Teller, m: re.Match[str]) -> None:
    assert t.wrote == {"sf": 0, "mc": 0}


@sentence(r"(\d+) rows? (?:was|were) written")
def written(t: Teller, m: re.Match[str]) -> None:
    assert t.wrote == {"sf": 0, "mc": int(m[1])}


@sentence(r"(\d+) operations wait for (\w+)")
def held(t: Teller, m: re.Match[str]) -> None:
    assert sum(h.operations for h in t.lab.holds() if h.cls == m[2]) == int(m[1])


@sentence(r"nothing waits")
def no_holds(t: Teller, m: re.Match[str]) -> None:
    assert t.lab.holds() == ()


@sentence(r"(\w+) is in quarantine for (\w+)")
def quarantined(t: Teller, m: re.Match[str]) -> None:
    assert (t.lab.ids[m[1]], m[2]) in t.lab.rows("SELECT key, reason FROM quarantine WHERE closed_at IS NULL")


@sentence(r"(\w+) is listed as in doubt for (\w+)")
def doubt(t: Teller, m: re.Match[str]) -> None:
    query = "SELECT r.rid, a.reason FROM ambiguous a JOIN record r ON r.person = a.person"
    assert (t.lab.ids[m[1]], m[2]) in t.lab.rows(query)


@sentence(r"the ledger is whole")
def whole(t: Teller, m: re.Match[str]) -> None:
    assert t.lab.entries() > 0
