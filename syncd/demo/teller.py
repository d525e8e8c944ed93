"""What the demonstration prints: colours and a moving bar on a terminal, plain lines elsewhere, nothing for --json."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

WIDTH = 100


Watch = Callable[[int], None] | None
"""Is told now and then how many operations are left; None = nobody wants to know."""


class Teller:
    """Where the story goes. This one is silent, for --json: whoever has the data prints them at the end."""

    def say(self, text: str = "") -> None:
        """A paragraph."""

    def step(self, what: str, found: str, seconds: float) -> None:
        """Something that was done, what came out, and how long it took."""

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of text; "ok" and "NOT OK" are told apart."""

    @contextmanager
    def watching(self, what: str, total: int) -> Iterator[Watch]:
        """A bar for ``total`` operations, while something runs."""
        yield None


class Plain(Teller):
    """Lines of text, one after the other."""

    def say(self, text: str = "") -> None:
        print(textwrap.fill(text, WIDTH), flush=True)

    def step(self, what: str, found: str, seconds: float) -> None:
        print(f"  {what:<44} {found:<46} {seconds:5.1f} s", flush=True)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


class Rich(Plain):
    """The same on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)

    def say(self, text: str = "") -> None:
        self._console.print(text, markup=False)

    def step(self, what: str, found: str, seconds: float) -> None:
        from rich.text import Text

        line = Text.assemble("  ", (f"{what:<44} ", "bold"), f"{found:<46} ", (f"{seconds:5.1f} s", "dim"))
        self._console.print(line)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(*head, box=SIMPLE_HEAD, pad_edge=False)
        colours = {"ok": "green", "NOT OK": "bold red"}
        for row in rows:
            table.add_row(*(Text(cell, style=colours.get(cell, "")) for cell in row))
        self._console.print(table)

    @contextmanager
    def watching(self, what: str, total: int) -> Iterator[Watch]:
        from rich.progress import Progress

        with Progress(console=self._console, transient=True) as bar:
            task, begun = bar.add_task(f"  {what}", total=total), False

            def seen(left: int) -> None:
                nonlocal begun
                begun = begun or left > 0  # nothing is queued before the plan is approved
                bar.update(task, completed=max(0, total - left) if begun else 0)
            yield seen


def teller(as_json: bool) -> Teller:
    """The one that fits where the output goes."""
    return Teller() if as_json else Rich() if sys.stdout.isatty() else Plain()
