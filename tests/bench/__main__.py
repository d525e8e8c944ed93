"""``make bench``, ``python -m tests.bench [--people N | --quick] [--only WORD]``: measure, compare, exit 1 over budget."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from tests.bench import hooks, importing, measures
from tests.bench.calibrate import BUDGETS
from tests.bench.measures import Figures

QUICK, BURST, MILLION = 50_000, 200_000, 1_000_000
BACKFILL = 200_000


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    people = options.people or (QUICK if options.quick else MILLION)
    figures: Figures = {}
    for part in options.only or PARTS:
        print(f"measuring: {part} …", file=sys.stderr, flush=True)
        figures |= PARTS[part](people)
    print(f"{people:,} people; CPU times as they would be at the reference machine's pace\n")
    over = report(figures, tomllib.loads(BUDGETS.read_text())["budgets"])
    if over:
        print(f"\nover budget: {', '.join(over)}")
    return 1 if over else 0


def _million(people: int) -> Figures:
    found = measures.million(people)
    smaller = measures.growth(people // 10)["peak"]
    found["first link: peak memory, against a tenth of the people"] = found["first link: peak memory"] / smaller
    return found


PARTS: Mapping[str, Callable[[int], Figures]] = {
    "people": _million, "slow": lambda people: measures.slow(), "start": lambda people: measures.start(),
    "webhooks": lambda people: hooks.measure(min(people, BACKFILL)),
    "import": importing.measure,
    "burst": lambda people: measures.burst(min(people, BURST)),
}


def report(figures: Figures, budgets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Print the table: what, measured, budget, ratio, ok; returns what is over budget. What has no budget
    comes last."""
    over = []
    print(f"{'what':<58} {'measured':>12} {'budget':>12} {'ratio':>6}")
    for name in sorted(figures, key=lambda n: list(budgets).index(n) if n in budgets else len(budgets)):
        budget, value = budgets.get(name), figures[name]
        if budget is None:
            print(f"{name:<58} {value:>12,.1f}")
            continue
        most = budget["most"]
        ok = value <= most
        ratio = f"{value / most:.2f}" if most else "-"
        print(f"{name:<58} {value:>8,.1f} {budget['unit']:<3} {most:>8,.1f} {budget['unit']:<3} {ratio:>6} "
              f"{'ok' if ok else 'OVER'}")
        if not ok:
            over.append(name)
    return over


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Figures against budgets.toml.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--people", type=int, help=f"people in Salesforce (default {MILLION:,})")
    size.add_argument("--quick", action="store_true", help=f"only {QUICK:,} people")
    parser.add_argument("--only", action="append", choices=tuple(PARTS), help="one part of it; may be repeated")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
