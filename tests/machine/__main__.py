"""``python -m tests.machine``: play counterexamples again, check every mutant's, or find them afresh.

mutants             every mutant must break an invariant in its stored counterexample; ends with 0 only if all do
find [NAME…]        search for counterexamples of these mutants (all), and store them
play JSON           play a list of steps, and say what breaks
soak STEPS          explore so many steps at random
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import orjson

from tests.machine.inline import inline
from tests.machine.machine import explore
from tests.machine.mutants import MUTANTS, keep, stored
from tests.machine.play import run
from tests.machine.report import fresh, report
from tests.machine.search import afresh, breaks


def check() -> int:
    """Play every stored counterexample with the mutant and without."""
    alive = []
    for mutant in MUTANTS:
        steps = stored().get(mutant.name, [])
        right, why = run(steps), breaks(mutant, steps)
        if right is not None or why is None:
            alive.append(mutant.name)
        print(f"{'ALIVE ' if mutant.name in alive else 'killed'} {mutant.name}: {why or right}")
    print(f"{len(MUTANTS) - len(alive)} of {len(MUTANTS)} mutants are killed")
    return int(bool(alive))


def search(names: list[str]) -> int:
    """Find counterexamples afresh."""
    wanted = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    found, broken = afresh(wanted, fresh())
    for name, steps in found.items():
        if steps is not None:
            keep(name, steps)
    missed = [name for name, steps in found.items() if steps is None]
    print(f"{len(found) - len(missed)} of {len(wanted)} found afresh")
    for error in broken:
        print(error)
    return int(bool(missed or broken))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("mutants", "find", "play", "soak"))
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    with inline():
        if options.what == "mutants":
            return check()
        if options.what == "find":
            return search(options.rest)
        if options.what == "play":
            broken = run([tuple(step) for step in orjson.loads(options.rest[0])])
            print(broken or "nothing breaks")
            return int(broken is not None)
        counts: Counter[str] = Counter()
        explore(int(options.rest[0]), counts, derandomize=False)
        report(counts)
        return 0


if __name__ == "__main__":
    sys.exit(main())
