"""Asking about people of a big state: ``python -m tests.bench.asking CONFIG`` prints what answering took, as one JSON
object.

The mapping may have got segments since the last run: a ranked one is ranked here, nothing is read or written elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from mappings.functions import clock_parameters
from state import ranks
from syncd import compose
from syncd.desk.verbs import Desk
from tests.bench.calibrate import Speed

PEOPLE = 40


def main(path: str) -> None:
    config, mapping = compose.load(Path(path))
    store = compose.store(config, check=False)
    desk = Desk(config, store, mapping)
    speed = Speed()
    try:
        first = _cpu(lambda: desk.compiled)
        bound = clock_parameters(desk.now(), desk.compiled.zones)
        store.remember("unranked", 1)
        ranking = store.look(lambda conn: ranks.choose(conn, desk.compiled.relations, bound))
        for object_, changes in ranking.changes.items() if ranking is not None else ():
            store.write(lambda conn, o=object_, c=changes: ranks.move(conn, o, c))  # type: ignore[misc]  # bound now
        [(count,)] = store.rows("SELECT max(id) FROM record")
        addresses = [row[0] for row in store.rows(
            "SELECT a.email FROM record r CROSS JOIN address a ON a.id = r.address WHERE r.id % ? = 0", (count // PEOPLE,))]
        took = []
        for address in addresses:
            took.append(_cpu(lambda a=address: _explained(desk, a)))  # type: ignore[misc]
            speed.passing()
        print(orjson.dumps({"name": "explain", "people": count, "asked": len(took), "compile": first, "worst": max(took),
                            "pace": speed.pace(), "address": addresses[0]}).decode())
    finally:
        desk.close()
        store.close()


def _explained(desk: Desk, address: str) -> None:
    """:raises RuntimeError: it does not tell what is to be measured"""
    found = desk.explain(address).data["people"]
    if len(found) != 1 or any(not about["rule"] and not about["rank"] for about in found[0]["segments"].values()):
        raise RuntimeError("nobody was explained")


def _cpu(work: Callable[[], object]) -> float:
    """Seconds of all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
