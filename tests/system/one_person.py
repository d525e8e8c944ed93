"""Writes docs/one-person.md: one person's way through every table, as it really is.

``make docs`` runs it. A test compares its output with the file, so the page cannot grow old.
"""

from __future__ import annotations

import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.system.lab import Lab

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "one-person.md"

INTRO = """\
# One person, through every table

<!-- Written by `make docs`; do not edit. -->

Anna is a contact in a CRM (connection `sf`) and gets mail from an ESP (connection `mc`). This page shows every row that is
written on her way from there to an audience and, when she leaves a topic, back: first what happens, then the rows that are
new or changed. It was made by running syncd on a world in memory that has nobody else in it. An empty column is left out;
`16 bytes` stands for a hash or a salt, `fingerprint` for one of the mapping or of a plan; instants are microseconds since
1970. After the first plan the rows of `stream` are left out: every cycle moves their cursors.

The tables are described in `state/sql/schema.sql`; those that follow the mapping (`rec_*`, `attr`, `decision`, `target_*`)
are made by `state/relations.py`. Which step writes which table is told by `syncd/cycle.py`.

The mapping has two topics, "offers" (needs an opt-in) and "news" (needs none), and two segments of offers: "rich"
(`spent > 100`) and "top" (the three who spent most). Anna wants offers, and has spent 250.
"""

WIDE = 116
HIDDEN = ("sqlite_sequence", "_sqlite_migrations")
RESTLESS = "stream"
FINGERPRINT = re.compile(r"[0-9a-f]{12}|[0-9a-f]{16}")

Row = tuple[tuple[str, Any], ...]
Tables = dict[str, list[Row]]


def tables(lab: Lab) -> Tables:
    """Every row of every table, in the order of their keys."""
    found: Tables = {}
    for (name,) in lab.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"):
        if name in HIDDEN:
            continue
        columns = [row[1] for row in lab.rows(f"PRAGMA table_info('{name}')")]
        order = ", ".join(map(str, range(1, min(len(columns), 2) + 1)))
        found[name] = [tuple(zip(columns, row, strict=True)) for row in lab.rows(f'SELECT * FROM "{name}" ORDER BY {order}')]
    return found


def moved(before: Tables, after: Tables) -> Iterator[str]:
    """The rows that are new or changed, table by table, and how many are gone. A row is known again by its first column."""
    for name, rows in after.items():
        known = before.get(name, [])
        new = [row for row in rows if row not in known]
        gone = len({row[0] for row in known} - {row[0] for row in rows})
        if new or gone:
            yield f"`{name}`" + (f" ({gone} gone)" if gone else "")
            yield ""
        if new:
            yield "```"
            for row in new:
                yield from _wrapped(", ".join(f"{column}={_text(value)}" for column, value in row if value is not None))
            yield "```"
            yield ""


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = str(value)
    if isinstance(value, str) and FINGERPRINT.fullmatch(text):
        return "fingerprint"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _wrapped(line: str) -> Iterator[str]:
    indent = ""
    while len(line) > WIDE:
        cut = line.rfind(", ", 0, WIDE) + 1
        yield indent + line[:cut]
        line, indent = line[cut + 1:], "    "
    yield indent + line


class OneByOne(Executor):
    """Streams and lanes one after the other: who is first decides about ids, and the page is to be the same each time."""

    def __init__(self, workers: int, thread_name_prefix: str = "") -> None:
        pass

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Story:
    """Tells one step after the other."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.lines: list[str] = [INTRO]
        self.seen: Tables = {}
        self.told = 0

    def tell(self, title: str, text: str, do: Callable[[], object]) -> None:
        do()
        now = tables(self.lab)
        if self.told >= 2:
            now.pop(RESTLESS)
        self.told += 1
        self.lines += [f"## {title}", "", textwrap.fill(text, WIDE), "", *moved(self.seen, now)]
        self.seen = now


def page() -> str:
    """The whole page."""
    with (tempfile.TemporaryDirectory() as name, patch("syncd.pull.ThreadPoolExecutor", OneByOne),
          patch("syncd.cycle.ThreadPoolExecutor", OneByOne), patch("state.parcels.LEAST", 100), Lab(Path(name)) as lab):
        story = Story(lab)
        plan: list[Any] = []
        story.tell("Before anything", "syncd has opened a new state and compiled the mapping.", lab.app.compile)
        lab.contact("anna", spent="250.00")
        story.tell("The first plan", (
            "Every stream is read to its end (*pull*), the record becomes a person (*identify*), her words become decisions"
            " (*reconcile*), the mapping says where she belongs (*evaluate*), and what is missing there becomes operations"
            " (*plan*). As this is the first plan of both connections, all of it is held (*guard*). Of a hundred people"
            " the new rows would lie in parcels (`state/parcels.py`), their own state being -1 until they are done."),
            lambda: plan.append(lab.cycle(deliver=False).plan))
        lab.approve(plan[0])
        story.tell("Somebody approves it", (
            "`syncd apply PLAN_ID`. Then one cycle: her rows are sealed, sent and done (*deliver*)."), lab.cycle)
        lab.send("de:OFFERS")
        story.tell("She is mailed", (
            "The ESP mails the audience, and makes her a subscriber of the topic's list by itself. The next cycle sees that."
            " It is no consent, and writes nothing."), lab.cycle)
        lab.advance(60)
        lab.unsubscribe("anna", "L1")
        story.tell("She leaves offers", (
            "A minute later she clicks on unsubscribe in that mail. One cycle: her word is in the ledger (twice, as the ESP"
            " tells of it in its events and in the list), the decision has turned, her rows are gone from all audiences of"
            " offers, and the CRM's box is cleared. `syncd explain` reads the rule and the ledger position of the decision:"
            " why she gets no offers."), lab.cycle)
        lab.advance(60)
        story.tell("The echo", "The CRM now shows our own write as a change. It is recognised as such: no statement, nothing"
                   " to do.", lab.cycle)
        return "\n".join(story.lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
