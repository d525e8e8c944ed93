"""What all commands share: exit codes in their help, ``--json``, addresses from standard input, asking whoever holds
the state, and one way to fail."""

from __future__ import annotations

import functools
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from syncd.failures import EXITS, FAILED, LOCKED, USAGE, Failure, failure_of

if TYPE_CHECKING:
    from syncd.config import Config
    from syncd.desk.answers import Answer
    from syncd.desk.verbs import Desk

F = TypeVar("F", bound=Callable[..., Any])

CONFIGS = ("syncd.yaml", "/etc/syncd/syncd.yaml")
"""Where the configuration is looked for when nothing names it."""

PATIENCE = 1.5
"""Seconds to wait for a lock that is only held for a moment."""

_COMMON = (0, FAILED, USAGE)


class Context:
    """What the group's options say; ``json`` is set by the command."""

    def __init__(self, config: str | None, debug: bool) -> None:
        self._config = config
        self.debug = debug
        self.json = False

    @property
    def path(self) -> Path:
        """The configuration file.

        :raises Failure: none is named and none is at the usual places
        """
        if self._config is not None:
            return Path(self._config)
        for name in CONFIGS:
            if Path(name).exists():
                return Path(name)
        raise Failure(USAGE, f"there is no {' and no '.join(CONFIGS)}.",
                      next="Name one with --config, or make one with `syncd init`.")

    def config(self) -> Config:
        from syncd.config import load_config

        return load_config(self.path)


class Root(click.Group):
    """The group of all commands: the process ends with an exit code of ours, whoever takes what it says or does not."""

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **extra)
        except OSError as error:  # click's own pages; a command tells its errors itself
            say(f"syncd: {failure_of(error).message}")
            raise SystemExit(FAILED) from None
        finally:
            _drop_untold()


def _drop_untold() -> None:
    """Drop what standard output and standard error did not take: Python would try once more, and end with 120 in place of
    our exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def command(*exits: int, name: str | None = None, group: click.Group | None = None) -> Callable[[F], click.Command]:
    """A command with ``--json``, the exit codes in its epilogue, and every error as sentence and exit code.

    :param exits: its exit codes beyond 0, 1 and 2
    """
    def decorate(function: F) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
        @click.pass_obj
        @functools.wraps(function)
        def run(obj: Context, /, *args: Any, as_json: bool, **kwargs: Any) -> None:
            obj.json = as_json
            try:
                code = function(obj, *args, **kwargs)
                if sys.stdout is not None:
                    sys.stdout.flush()
            except (click.exceptions.ClickException, click.exceptions.Exit, click.exceptions.Abort, BrokenPipeError):
                raise  # click's own business: that a reader went away ends with 1 and no word
            except Exception as error:
                fail(obj, error)
            raise SystemExit(code or 0)
        made = click.command(name, epilog=epilogue(*exits))(run)
        if group is not None:
            group.add_command(made)
        return made
    return decorate


def epilogue(*exits: int) -> str:
    """The last paragraph of a command's help."""
    lines = [f"  {code}  {EXITS[code]}" for code in sorted({*_COMMON, *exits})]
    return "\b\nExit codes:\n" + "\n".join(lines)


def fail(obj: Context, error: BaseException) -> NoReturn:
    """Say what went wrong and end with its exit code."""
    failure = failure_of(error)
    if obj.debug:
        import traceback

        with suppress(OSError):
            traceback.print_exception(error)
    if obj.json:
        with suppress(OSError):  # that standard output takes nothing may be what went wrong
            emit({"error": failure.as_json()})
    say(failure.message if failure.code == "problems" else f"syncd: {failure.message}")
    if failure.next:
        say(f"  {failure.next}")
    raise SystemExit(failure.exit_code)


def emit(data: Any) -> None:
    """JSON on standard output, one document."""
    import orjson

    click.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def say(message: str) -> None:
    """A message for the person, on standard error; that nobody can read it changes neither work nor exit code."""
    with suppress(OSError):
        click.echo(message, err=True)


def show(obj: Context, data: Any, render: Callable[[Any], Iterator[str]]) -> None:
    """Data on standard output: as JSON, or as lines of text."""
    if obj.json:
        emit(data)
        return
    for line in render(data):
        click.echo(line)


def table(rows: list[tuple[Any, ...]], head: tuple[str, ...]) -> Iterator[str]:
    """Rows as aligned columns under their names; nothing when there are none."""
    cells = [head, *(tuple("-" if c is None else str(c) for c in row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells if rows else ():
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def confirm(question: str) -> None:
    """Ask; anything but yes ends the command.

    :raises Failure: standard input has ended, as where an address came by a pipe
    """
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        say("")
        raise Failure(USAGE, "standard input has ended, and nobody has agreed; nothing was done.",
                      next="Where there is nobody to ask, agree with --yes.") from None
    if not agreed:
        raise click.Abort


# --------------------------------------------------------------------------- addresses

class FromStdin(click.ParamType[str]):
    """``-``: the value is read from standard input. Anything else is refused, and not repeated: arguments are seen by
    everyone who lists processes and stay in the shell's history."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "-":
            self.fail("an address is not taken from the command line, where other people can read it: write - and give"
                      " it on standard input", param, ctx)
        if sys.stdin.isatty():
            say("Address, then Enter:")
        return sys.stdin.readline().strip()


ADDRESS = FromStdin()


# --------------------------------------------------------------------------- asking

def call(obj: Context, verb: str, check: bool = False, **parameters: Any) -> Answer:
    """Ask the running syncd; where none runs, open the state and ask it here.

    :param check: look for damage when the state is opened (for what is going to write much)
    :raises Failure: what went wrong, also at the other side
    """
    from syncd.desk import control
    from syncd.desk.verbs import LOOKS

    config = obj.config()
    path = control.socket_path(config.state)
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            with busy(obj, verb):
                try:
                    return control.ask(path, verb, parameters)
                except control.NotRunning:
                    with desk(config, check=check) as opened, interruptible(opened, verb):
                        return opened.call(verb, parameters)
        except control.Broken:
            if verb not in LOOKS:
                raise
        except Exception as error:
            if failure_of(error).exit_code != LOCKED or time.monotonic() > give_up:
                raise
        time.sleep(0.05)


@contextmanager
def asking(obj: Context) -> Iterator[Callable[..., Answer]]:
    """``ask(verb, **parameters)`` for many questions in a row: where no syncd runs, the state is opened once.

    :raises Failure: what went wrong, also at the other side
    """
    from syncd.desk import control

    config = obj.config()
    with ExitStack() as stack:
        opened: list[Desk] = []

        def ask(verb: str, **parameters: Any) -> Answer:
            if not opened:
                try:
                    return control.ask(control.socket_path(config.state), verb, parameters)
                except control.NotRunning:
                    opened.append(stack.enter_context(desk(config, check=False)))
            return opened[0].call(verb, parameters)
        yield ask


@contextmanager
def busy(obj: Context, verb: str) -> Iterator[None]:
    """On a terminal, a sign of life while a cycle runs."""
    if obj.json or verb not in ("plan", "apply", "once", "resync") or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{verb}: reading, deciding, writing"):
        yield


@contextmanager
def interruptible(opened: Desk, verb: str) -> Iterator[None]:
    """While this process runs a cycle, SIGINT and SIGTERM let what is being sent finish; the second one ends at once."""
    from syncd.desk.verbs import EXCLUSIVE

    if verb not in EXCLUSIVE or threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def heed() -> None:
        if numbers.get() is not None:
            say("syncd: finishing what is being sent; interrupt again to end at once.")
            opened.stop.set()
            if (second := numbers.get()) is not None:
                os._exit(128 + second)

    before = {number: signal.signal(number, lambda n, _: numbers.put(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    watcher = threading.Thread(target=heed, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        numbers.put(None)
        numbers.put(None)
        watcher.join()


@contextmanager
def desk(config: Config, *, check: bool = True) -> Iterator[Desk]:
    """The state, opened and locked by this process, which answers on the control socket meanwhile."""
    from syncd import compose
    from syncd.desk import control
    from syncd.desk.verbs import EXCLUSIVE, Desk

    if not Path(config.state).parent.is_dir():
        raise Failure(USAGE, f"there is no directory {Path(config.state).parent} for the state.",
                      next="Make it, readable by syncd's user only: mkdir -m 700.")
    store = compose.store(config, check=check)
    if store.journal.cut or store.replayed:
        say(f"The machine went down while statements were written: {store.replayed} were taken in from the journal,"
            f" {store.journal.cut} bytes of an unfinished one cut off; it will be read again.")
    if store.retold:
        say(f"The consent journal lacked {store.retold} entries, which were written to it again from the state.")
    try:
        opened = Desk(config, store)

        def answer(verb: str, parameters: Mapping[str, Any]) -> Answer:
            if verb in EXCLUSIVE:
                raise Failure(LOCKED, "another syncd command is running a cycle.", next="Wait until it has ended.")
            return opened.call(verb, parameters)
        try:
            with control.Server(control.socket_path(config.state), answer):
                yield opened
        finally:
            opened.close()
    finally:
        store.close()
