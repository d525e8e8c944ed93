"""Wrong versions of the product, one piece of source or SQL replaced in each; the machine must notice every one.

A mutant changes a function in place, whoever has a reference to it, or a named query, and is taken back afterwards.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import orjson

from state.queries import load
from tests.machine.steps import Step


class Edit(NamedTuple):
    """``place`` is "module:function", "module:Class.method" or "sql:step.query"; ``old`` occurs in it once."""

    place: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A known-bad change. ``hints``: the kinds of steps by which the search finds it sooner, if not all are of use, in the
    order in which they might come;
    ``scene``: the one in which alone it shows."""

    name: str
    edits: tuple[Edit, ...]
    hints: tuple[str, ...] = ()
    scene: int | None = None

    def apply(self) -> list[Callable[[], None]]:
        """Put the fault into the product; what takes it back."""
        return [_apply(edit) for edit in self.edits]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product with the fault in it."""
        undo = self.apply()
        try:
            yield
        finally:
            for back in undo:
                back()


def _apply(edit: Edit) -> Callable[[], None]:
    kind, name = edit.place.split(":")
    if kind == "sql":
        step, query = name.split(".")
        queries = load(step)
        before = queries[query]
        queries[query] = _replaced(before, edit)
        return lambda: queries.__setitem__(query, before)
    module = importlib.import_module(kind)
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part)
    source = _replaced(textwrap.dedent(inspect.getsource(function)), edit).removeprefix("@staticmethod\n")
    code = next(c for c in compile(f"from __future__ import annotations\n{source}", edit.place, "exec").co_consts
                if isinstance(c, CodeType) and c.co_name == function.__name__)
    before_code = function.__code__
    function.__code__ = code
    return lambda: setattr(function, "__code__", before_code)


def _replaced(text: str, edit: Edit) -> str:
    assert text.count(edit.old) == 1, f"{edit.place}: {edit.old!r} occurs {text.count(edit.old)} times"
    return text.replace(edit.old, edit.new)


def _one(name: str, place: str, old: str, new: str, *hints: str, scene: int | None = None) -> Mutant:
    return Mutant(name, (Edit(place, old, new),), hints, scene)


MUTANTS = (
    # what is read
    _one("the checkpoint is saved before the page", "syncd.pull:Puller._read",
         "            changed += self._store(feed, row, rows, page.cursor if last else None, sweep, now,\n",
         '            self.store.write(lambda c: c.execute(load("records")["advance"], {"stream": feed.stream,'
         ' "cursor": page.cursor, "complete": None}).rowcount)\n            self.failpoint("page_stored")\n'
         "            changed += self._store(feed, row, rows, page.cursor if last else None, sweep, now,\n",
         "tick", "unsubscribe", "crash", "cycle", "send", "calm"),
    _one("a listing that was cut is believed", "syncd.pull:Puller._find_deleted", "if not complete:", "if False:",
         "fault", "full", "cycle", "calm", "heal"),
    _one("events are not read", "syncd.statements:from_events", "        method, state = _SAID[e.kind]", "        continue",
         "unsubscribe", "delete_subscriber", "remove_member", "cycle", "calm"),
    _one("statuses are not read", "syncd.statements:from_statuses", 'if c.new == "unsubscribed":',
         'if c.new == "nothing":', "suppress", "unsubscribe", "cycle", "send", "calm"),
    _one("an opt-out of all mail counts for one topic", "syncd.statements:Containers.scope",
         'return [("master", None)]', 'return [("topic", "offers")]'),
    _one("the box for all mail says nothing", "syncd.statements:_groups",
         'if meaning == "opt_out" or (', 'if (meaning == "opt_out" and level == "topic") or ('),
    _one("unticking the box for all mail brings somebody back", "syncd.statements:_groups",
         "            requests.found.append((record, flag.field))\n    for",
         '            together.setdefault(("flag", 1, None, None), []).append(said(level, topic, "opt_in"))\n    for',
         "tick", "untick", "wait", "cycle", "send", "calm"),
    _one("coming back does not work", "syncd.statements:_groups", "evidence = bool(made) and said_at is not None",
         "evidence = False", "unsubscribe", "web", "wait", "calm", "cycle", "create"),
    _one("whatever arrived before an opt-in was known to its author", "state.ledger:known",
         "    found = 0\n", "    return 10**9\n", "web", "unsubscribe", "down", "heal", "cycle", "wait", "calm", "tick"),
    _one("a form's clock is taken for that of the CRM", "syncd.statements:_form", "Knew(at - tolerance, at - tolerance)",
         "Knew(at, at)", "web", "tick"),
    _one("a box ticked by a user is nobody's word where its history can be read", "syncd.statements:_groups",
         "if known is not None and known.echo and not (meaning", "if known is not None and not (meaning",
         "tick", "wait", "cycle", "send", "calm", scene=1),
    _one("a person's tick hides behind Connect's", "syncd.history:told",
         "(not new.echo, new.at) > (not old.echo, old.at)", "new.at > old.at",
         "tick", "untick", "connect", scene=1),
    _one("statuses of addresses without a key are not read", "syncd.listen:Listener._statuses",
         "    known, stated =", '    rows = [r for r in rows if "@" not in str(r[1])]\n    known, stated =',
         "blacklist", "cycle", "send", "calm", scene=1),
    _one("whoever is taken off a list of addresses has come back", "syncd.statements:from_statuses",
         "        method, made, knew = c.origin",
         '        c = c._replace(origin="person" if c.new == "subscribed" and "@" in (c.key or "") else c.origin)\n'
         "        method, made, knew = c.origin",
         "blacklist", "unblacklist", "wait", "cycle", "send", "calm", scene=1),
    _one("who left a topic under its former id never left it", "syncd.reconcile:Reconciler._statement",
         "topic = self._now.get(s.scope.topic, s.scope.topic)", "topic = s.scope.topic",
         "unsubscribe", "tick", "remap", "cycle", "approve", "calm"),
    _one("who is stopped again after coming back is back", "sql:statuses.left_since", "s.at >= p.at", "s.at < p.at",
         "suppress", "resubscribe"),
    _one("nobody listens to webhooks before the next cycle", "syncd.inbox:Resolver._store",
         "statuses.people(conn, said) | statuses.undecided(conn, feed.connection)", "set()", "click", "cycle", "calm"),
    _one("the express way plans, and sends nothing", "syncd.decide:Decider.suppress",
         "count = plan.release_suppressions(conn)", "count = 0", "click", "cycle", "calm"),
    _one("who is forgotten and comes back to one topic comes back to all", "syncd.desk.forget:words",
         "refusal(None)", 'refusal("offers")',
         "forget", "create", "wait", "cycle", "calm"),
    # who is who
    _one("a merge forgets the one who was absorbed", "state.identify:_component", "if merged is not None:", "if False:",
         "unsubscribe", "merge", "cycle", "send", "calm", "tick"),
    _one("whoever was one person stays one", "state.identify:_component",
         "        frontier |= (near | same_person)",
         "        edges[record].update(same_person)\n        for other in same_person:\n"
         "            edges.setdefault(other, set()).add(record)\n        frontier |= (near | same_person)",
         "create", "move", "cycle", "calm", "delete"),
    _one("two names at one address are one person", "state.identify:_ambiguity",
         'return "different_names"', "return None", "unsubscribe", "move", "web", "cycle", "wait", "calm", "send"),
    _one("one of two names at an address comes back for the other", "state.people:_sure",
         "if len(said) < 2 or", "if True or", "move", "unsubscribe", "calm", "web", "add_row", "calm"),
    _one("an opt-out stays behind when the address changes", "state.people:case",
         "statements(conn.execute(q[\"of_person\"], (person,)), person)}",
         "statements(conn.execute(q[\"of_person\"], (person,)), person) if s.address == address}",
         "unsubscribe", "move", "cycle", "send", "calm"),
    _one("what is said under an address alone binds nobody", "sql:ledger.bind_by_address",
         "HAVING count(DISTINCT r.person) = 1", "HAVING count(DISTINCT r.person) = 0",
         "unsubscribe", "move", "cycle", "send", "calm"),
    _one("whoever has just left an address said nothing under it", "sql:ledger.bind_by_departed",
         "HAVING count(DISTINCT r.person) = 1", "HAVING count(DISTINCT r.person) = 0",
         "unsubscribe", "move", "merge", "cycle", "send", "calm", scene=2),
    _one("whoever shares an address comes back for the others", "syncd.consent:_enders",
         " and history.speaks(r)", "", "block", "web", "grant", "move", "wait", "cycle", "send", "calm", scene=5),
    _one("what is said by one of an address reaches the others when something else happens", "sql:identify.dirty_sharers",
         "WHERE d.person > :after", "WHERE 0 AND d.person > :after",
         "tick", "unsubscribe", "move", "web", "merge", "cycle", "send", "calm", scene=5),
    _one("another's refusal is the address's", "syncd.consent:_History.bar", "elif opt_out.person in self.others:",
         "elif False:", "tick", "unsubscribe", "move", "web", "grant", "wait", "cycle", "send", "calm", scene=5),
    # what is wished
    _one("rows of people who left stay", "state.plan:audience_sql", "WHERE (t.person IS NOT NULL OR",
         "WHERE 0 AND (t.person IS NOT NULL OR"),
    _one("the blocking status is written nowhere", "sql:plan.block_key", "WHERE s.status IS NOT 'unsubscribed'",
         "WHERE s.status IS 'unsubscribed'"),
    _one("nobody is put on a list of addresses", "sql:plan.block_address", "NOT IN ('unsubscribed', 'held')",
         "IN ('unsubscribed', 'held')", "tick", "unsubscribe", "complain", "cycle", "calm", scene=2),
    _one("rows of others are left at an address that nobody has any more", "syncd.decide:Decider._judge",
         'if answer.state == "unsubscribed":', "if False:", "block", "restore", "move", "calm"),
    _one("a box that is ticked again before a restore is the old one", "sql:flags.doubts", "WHERE x.", "WHERE 0 AND x.",
         "import_flags", "cycle", "backup", "calm", "resubscribe", "cycle", "cycle", "import_flags", "restore", "calm"),
    _one("a status that is set again before a restore is the old one", "sql:statuses.changes", "OR :restored AND",
         "OR 0 AND", "suppress", "cycle", "backup", "wait", "grant", "cycle", "cycle", "wait", "suppress", "restore", "calm",
         scene=2),
    _one("opt-outs are not carried to the CRM", "state.plan:flags", "    if not source.flags:", "    if source.flags:"),
    _one("a row whose move waits stays where it stands", "state.plan:audience_sql",
         "AND ({behind} OR", "AND (", "block", "move", "calm", scene=5),
    _one("a row that vanished is added again", "state.plan:audience_sql",
         "AND NOT {vanished} AND", "AND",
         "delete_row", "full", "calm", "cycle"),
    _one("another mapping decides nobody anew", "state.store:Store.conform",
         "self.walk(people.everyone, 0)", "pass",
         "remap", "approve", "calm", "cycle", "spend"),
    _one("words of an admin wake nobody", "state.statuses:mark", '    conn.executemany(q["mark_record"]',
         '    return\n    conn.executemany(q["mark_record"]', "unsubscribe", "grant", "suppress", "wait", "calm", "cycle"),
    _one("rows stay under keys that were given up", "sql:drift.remove_former", "f.former = 1\nWHERE",
         "f.former = 1\nWHERE 0 AND", "remap", "migrate", "approve", "cycle", "calm"),
    # what may leave
    _one("opt-outs wait behind a hold", "sql:guard.hold_open", "AND class > 0", "", "spend", "unsubscribe", "tick", "remap",
         "cycle", "send"),
    _one("nobody leaves while a burst is undecided", "sql:bursts.planned", "kind IN ('status', 'update')",
         "kind IN ('status', 'update', 'remove')", "import_flags", "cycle", "send", "calm", scene=3),
    _one("a burst that is retracted takes along what was said later", "sql:bursts.to_retract",
         "AND e.position <= :upto ", "AND :upto > 0 ",
         "import_flags", "tick", "retract_burst", scene=3),
    _one("grants leave while a feed is down", "syncd.cycle:Cycle.consent_is_fresh", "return ids <= fresh", "return True",
         "down", "wait", "create", "cycle", "web"),
    _one("the gate does not look again", "sql:outbox.gate", "o.class > 0 AND (", "0 AND (",
         "spend", "down", "cycle", "heal", "tick", "unsubscribe", "midway"),
    # what became of it
    _one("what is lost is taken for done", "syncd.deliver:_holds", "    if row is None:\n        return False\n",
         "    return True\n", "create", "hasty", "forget_requests"),
    _one("a lost change of address is taken for done", "syncd.deliver:_holds", "!= op.email:", "is None:",
         "move", "hasty", "forget_requests"),
    _one("what was interrupted is forgotten", "sql:outbox.open_batches", "state <> 'closed'", "state = 'accepted'",
         "create", "crash", "calm", "cycle", "unsubscribe", "spend"),
    _one("a call that failed is taken for done", "syncd.deliver:Lane._apply",
         'Outcome("retry", error.code, retry_after=wait or 1.0)', 'Outcome("done")',
         "unsubscribe", "fault", "down", "cycle", "calm", "create"),
    _one("nobody looks again when a late write lands", "sql:outbox.wake_waiting", "WHERE NOT EXISTS",
         "WHERE 0 AND NOT EXISTS", "create", "move", "hasty", "unsubscribe", "tick", "calm", "cycle"),
)

COUNTEREXAMPLES = Path(__file__).with_name("counterexamples.json")


def stored() -> dict[str, list[Step]]:
    """The counterexample of each mutant by name, found by ``tests.machine.search`` and shortened."""
    found: dict[str, list[list[Any]]] = orjson.loads(COUNTEREXAMPLES.read_bytes())
    return {name: [tuple(step) for step in steps] for name, steps in found.items()}


def keep(name: str, steps: Sequence[Step]) -> None:
    """Store a counterexample: one line per mutant, in their order."""
    found = {**stored(), name: list(steps)}
    lines = [f"{orjson.dumps(m.name).decode()}: {orjson.dumps(found[m.name]).decode()}" for m in MUTANTS if m.name in found]
    COUNTEREXAMPLES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
