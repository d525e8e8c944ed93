"""An old suppression list into a new state, by the command itself: ``python -m tests.bench.importing CONFIG FILE`` is the
process that is measured. Nobody is asked anything: the connections need not be there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from state.pace import Pace
from state.writer import SLOW
from syncd.cli import main
from tests.bench.calibrate import Speed
from tests.bench.worker import emit, peak

CONFIG = """\
state: state/syncd.db
journal: journal/consent.log
hash_key: ${file:hash_key}
mappings: [mapping.yaml]
connections: {sf: {type: memory, socket: none, name: sf}}
"""
MAPPING = """\
people: {sources: {sf.Contact: {attributes: {email: email}}}}
topics: {news: {name: News, opt_in: none}}
"""


def measure(rows: int) -> dict[str, float]:
    """Figures of a list of so many addresses that nobody has met."""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place:
        directory = Path(place)
        for name in ("state", "journal"):
            (directory / name).mkdir(mode=0o700)
        (directory / "syncd.yaml").write_text(CONFIG)
        (directory / "mapping.yaml").write_text(MAPPING)
        (directory / "hash_key").write_text("0123456789abcdef0123456789abcdef\n")
        with (directory / "old.csv").open("w") as file:
            file.write("email,name\n")
            file.writelines(f"person.{n * 7919 % 1_000_003}@example{n % 97}.org,Some Name\n" for n in range(rows))
        done = subprocess.run([sys.executable, "-m", "tests.bench.importing", str(directory / "syncd.yaml"),
                               str(directory / "old.csv")], stdout=subprocess.PIPE, check=True)
        size = (directory / "state" / "syncd.db").stat().st_size
    facts = orjson.loads(done.stdout.splitlines()[-1])
    return {"import of a list: CPU per row": facts["cpu"] / facts["pace"] / rows * 1e6,
            "import of a list: peak memory": facts["peak"] / 2**20,
            "import of a list: transactions over 0.2 s of processor time": facts["slow"],
            "import of a list: pace of the machine": facts["pace"],
            "import of a list: the longest, processor time": facts["longest"] * 1e3,
            "import of a list: seconds": facts["wall"], "import of a list: state file per row": size / rows}


def run(config: str, file: str) -> None:
    """Import, and tell what it cost."""
    took: list[float] = []
    over, speed = Pace.over, Speed()

    def watched(self: Pace, rows: int, job: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(conn: Any) -> Any:
            began = time.thread_time()
            try:
                return inner(conn)
            finally:
                took.append(time.thread_time() - began)
                speed.passing()
        inner = over(self, rows, job)
        return timed
    setattr(Pace, "over", watched)  # noqa: B010 - of this process only
    began = time.monotonic()
    try:
        main(["--config", config, "consent", "import", file])
    except SystemExit as end:
        if end.code:
            raise
    emit({"name": "import", "cpu": time.process_time() - speed.spent, "wall": time.monotonic() - began, "peak": peak(),
          "pace": speed.pace(), "longest": max(took), "slow": sum(each > SLOW for each in took)})


if __name__ == "__main__":
    run(*sys.argv[1:])
