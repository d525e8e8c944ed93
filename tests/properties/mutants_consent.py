"""Wrong versions of ``syncd/consent.py``, each with a stored history that tells it from the right one.

A mutant replaces one piece of the source; the history's last lines are the right answers. ``test_consent.py`` checks
that the right fold gives them, that the mutant does not, and that random histories find the mutant as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from syncd import consent


class Mutant(NamedTuple):
    """``old`` occurs exactly once in the source."""

    name: str
    old: str
    new: str
    history: str

    def fold(self) -> Callable[..., Any]:
        """The fold with the fault in it."""
        source = inspect.getsource(consent)
        assert source.count(self.old) == 1, f"{self.name}: {self.old!r} occurs {source.count(self.old)} times"
        module = ModuleType(consent.__name__)
        exec(compile(source.replace(self.old, self.new), self.name, "exec"), module.__dict__)  # noqa: S102 - our own source
        return module.fold  # type: ignore[no-any-return]  # a module made here has no types


MUTANTS = (
    Mutant("a tick nobody vouches for reopens", 'return (statement.state == "opt_in" and statement.person_made',
           'return (statement.state == "opt_in"', """
        topic offers required
        1 opt_out offers at=0
        2 opt_in offers at=60 via=flag
        => offers unsubscribed R1 1"""),
    Mutant("an approved baseline reopens", "and statement.person_made and not statement.baseline\n",
           "and statement.person_made\n", """
        topic offers required
        1 opt_out offers at=0
        2 opt_in offers person baseline approved at=60
        => offers unsubscribed R1 1"""),
    Mutant("an approved baseline survives an opt-out that was ended", "[] if was_out else", "", """
        topic offers required
        1 opt_in offers baseline approved at=..0
        2 opt_out master at=60
        3 opt_in master person at=120
        => offers unknown R13 1"""),
    Mutant("a baseline needs no approval", "s.baseline and s.baseline_approved", "s.baseline", """
        topic offers required
        1 opt_in offers baseline at=..0
        => offers unknown R13 1"""),
    Mutant("a stale opt-in reopens: arrival counts instead of time", "known = max(map(_known, enders))",
           "known = max(r.position for r in enders)", """
        topic offers required
        1 opt_out offers at=60
        2 opt_in offers person at=0
        => offers unsubscribed R1 1"""),
    Mutant("a stale opt-in answers a question",
           "opt_out.position <= _known(statement) or _follows(_earliest(statement), opt_out, tolerance))",
           "opt_out.position < statement.position)", """
        topic offers none
        1 pending offers at=60
        2 opt_in offers person at=0
        => offers pending R6 1"""),
    Mutant("a tie goes to the opt-in", "earliest > _latest(other) + tolerance",
           "earliest >= _latest(other) + tolerance", """
        topic offers required
        1 opt_out offers at=0
        2 opt_in offers person at=10
        => offers unsubscribed R1 1"""),
    Mutant("clocks are trusted", "> _latest(other) + tolerance", "> _latest(other)", """
        topic offers required
        1 opt_out offers at=0
        2 opt_in offers person at=5
        => offers unsubscribed R1 1"""),
    Mutant("the end of the opt-in's interval decides",
           "return min(statement.said_lo, statement.said_hi, statement.seen_at)",
           "return min(max(statement.said_lo, statement.said_hi), statement.seen_at)", """
        topic offers required
        1 opt_out offers at=20
        2 opt_in offers person at=0..60
        => offers unsubscribed R1 1"""),
    Mutant("the start of the opt-out's interval decides",
           "return statement.said_hi if statement.said_lo is None else max(statement.said_lo, statement.said_hi)",
           "return statement.said_hi if statement.said_lo is None else statement.said_lo", """
        topic offers required
        1 opt_out offers at=0..60
        2 opt_in offers person at=30
        => offers unsubscribed R1 1"""),
    Mutant("an opt-in may be dated after it was read", "statement.said_hi, statement.seen_at)",
           "statement.said_hi)", """
        topic offers required
        1 opt_out offers at=60
        2 opt_in offers person at=1000 seen=50
        => offers unsubscribed R1 1"""),
    Mutant("knowledge is not used",
           "return 0 if opt_in.knowledge is None else min(opt_in.knowledge, opt_in.position - 1)",
           "return 0", """
        topic offers required
        1 opt_out offers at=60
        2 opt_in offers person at=60 knows=1
        => offers subscribed mailable R7 2"""),
    Mutant("an opt-in can know the future", "min(opt_in.knowledge, opt_in.position - 1)", "opt_in.knowledge", """
        topic offers required
        1 opt_in offers person at=0 knows=9
        2 opt_out offers at=60
        => offers unsubscribed R1 2"""),
    Mutant("who knew one opt-out is taken to have known all", "if o.position > known and not",
           "if not known and not", """
        topic offers required
        1 opt_out offers at=0
        3 opt_in offers person at=60 knows=1
        5 opt_out offers at=120
        => offers unsubscribed R1 5"""),
    Mutant("an opt-out is lost when the address changes", "if opt_out.person == self.person:",
           "if opt_out.person == self.person and opt_out.address == self.address:", """
        topic offers none
        1 opt_out offers on=20 person at=0
        => offers unsubscribed R1 1"""),
    Mutant("other holders are ignored", "elif opt_out.person in self.others:", "elif False:", """
        topic offers none
        holds 1 2
        1 opt_out offers of=2 on=20 at=0
        => offers unsubscribed R4 1 holder"""),
    Mutant("a re-created record sheds the opt-out of its address",
           "elif self.address is not None and opt_out.address == self.address:",
           "elif opt_out.person is None and opt_out.address == self.address:", """
        topic offers none
        1 opt_out offers of=2 at=0
        => offers unsubscribed R5 1 address"""),
    Mutant("anybody's opt-in ends another holder's opt-out", 'return bar.whose == "address" and r.address',
           'return bar.whose != "person" and r.address', """
        topic offers none
        holds 1 2
        1 opt_out offers of=2 at=0
        2 opt_in offers of=1 person at=60 knows=1
        => offers unsubscribed R4 1 holder"""),
    Mutant("one holder's return reopens the address for all", "r.address == history.address and history.speaks(r)",
           "r.address == history.address", """
        topic offers none
        holds 1 2
        1 opt_out offers of=nobody at=0
        2 opt_in offers of=2 person at=60 knows=1
        => offers unsubscribed R5 1 address"""),
    Mutant("an opt-in said at another address reopens this one", "r.address == history.address and history.speaks(r)",
           "history.speaks(r)", """
        topic offers none
        1 opt_out offers of=2 at=0
        2 opt_in offers of=1 on=20 person at=60
        => offers unsubscribed R5 1 address"""),
    Mutant("a colleague's permission is inherited", "return statement.person == self.person",
           "return statement.person == self.person or statement.address == self.address", """
        topic offers required
        holds 1 2
        1 opt_in offers of=2 person at=0
        => offers unknown R14 0"""),
    Mutant("a topic opt-in lifts the whole master opt-out",
           "        return statement.scope.topic == topic.id and topic is not _MASTER",
           '        return statement.scope.topic == topic.id or statement.state == "opt_in"', """
        topic offers none
        topic news none
        1 opt_out master person at=0
        2 opt_in offers person at=60
        => news unsubscribed R2 1
        => all unsubscribed R2 1"""),
    Mutant("a master opt-in revokes a topic opt-out", 'said == level == "master"', 'said == "master"', """
        topic offers none
        1 opt_out offers person at=0
        2 opt_in master person at=60
        => offers unsubscribed R1 1"""),
    Mutant("a topic opened by name stays shut", "or topic.id not in statement.scope.all_except", "or True", """
        topic offers none
        1 opt_out master all_except=offers at=0
        => offers unknown mailable R11 0"""),
    Mutant("transactional mail stops too", "return statement.purpose == topic.purpose and (\n", "return (\n", """
        topic invoices none purpose=transactional
        1 opt_out master at=0
        => invoices unknown mailable R11 0"""),
    Mutant("an employee overrules the company", 'return said == "company" and opt_in.method == "grant" and',
           "return", """
        topic offers none
        1 opt_out company person at=0 via=grant
        2 opt_in offers person at=60 knows=1
        => offers unsubscribed R3 1"""),
    Mutant("a form without confirmation reopens a confirmed topic",
           '\n            and (topic.opt_in != "confirmed" or opt_in.method in policy.confirmed))', ")", """
        topic club confirmed
        1 opt_in club person at=0 via=confirmed
        2 opt_out club person at=60
        3 opt_in club person at=120 via=web
        => club unsubscribed R1 2"""),
    Mutant("an unconfirmed opt-in is a permission",
           'if topic.opt_in != "confirmed" or s.method in history.policy.confirmed]', "if True]", """
        topic club confirmed
        1 opt_in club person at=0 via=web
        => club pending R12 1"""),
    Mutant("pending is no obstacle", "if history.pendings and (asked", "if False and (asked", """
        topic offers none
        1 pending offers at=0
        => offers pending R6 1"""),
    Mutant("an old confirmation answers a new question",
           "r.method in policy.confirmed and not _follows(_earliest(p), r, tolerance)",
           "r.method in policy.confirmed", """
        topic offers required
        1 opt_in offers person at=0 via=confirmed
        2 pending offers at=60
        => offers pending R6 2"""),
    Mutant("anyone can retract", "if s.person_made and s.retracts < s.position:", "if s.retracts < s.position:", """
        topic offers none
        1 opt_out offers at=0
        2 opt_in master retracts=1 at=60
        => offers unsubscribed R1 1"""),
    Mutant("a person's own word can be retracted", "in retractions and not statement.person_made", "in retractions", """
        topic offers none
        1 opt_out offers person at=0
        2 opt_in master retracts=1 person at=60
        => offers unsubscribed R1 1"""),
    Mutant("a retraction can precede its target", "s.person_made and s.retracts < s.position", "s.person_made", """
        topic offers none
        1 opt_in master retracts=2 person at=0
        2 opt_out offers at=60
        => offers unsubscribed R1 2"""),
    Mutant("a bounce is an opt-out", 'elif s.method != "bounce" or s.person_made:', "else:", """
        topic offers none
        1 opt_out offers at=0 via=bounce
        => offers unknown mailable R11 0"""),
    Mutant("an opt-in for one brand permits all", "if s.scope.unit in (None, history.unit) and s.purpose",
           "if s.purpose", """
        topic offers required
        1 opt_in offers person at=0 unit=shop
        => offers unknown R13 1"""),
    Mutant("an opt-in for one brand reopens all",
           "policy)\n            and r.scope.unit in (None, history.unit, bar.unit)]", "policy)]", """
        topic offers none
        1 opt_out offers at=0
        2 opt_in offers person at=60 unit=shop
        => offers unsubscribed R1 1"""),
    Mutant("an opt-out without a topic is lost",
           '"master" if scope.level == "topic" and not scope.topic else scope.level',
           "scope.level", """
        topic offers none
        1 opt_out nothing at=0
        => offers unsubscribed R2 1"""),
)
