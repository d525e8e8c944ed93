"""sandbox and demo: syncd without a CRM and without an ESP."""

from __future__ import annotations

import click

from syncd.cli.common import Context, command
from syncd.failures import USAGE, Failure


@click.group()
def sandbox() -> None:
    """Simulated vendors on this machine, with a messy world in them."""


@command(name="serve", group=sandbox)
@click.option("--dir", "directory", required=True, type=click.Path(file_okay=False), help="For the files.")
@click.option("--people", type=click.IntRange(1), default=2000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the control API; 0 = any free one.")
@click.option("--profile", type=click.Choice(["full", "bench"]), default="full",
              help="bench: contacts and one topic only.")
@click.option("--queue-seconds", type=click.FloatRange(0), default=0.2, show_default=True,
              help="How long Marketing Cloud's asynchronous requests take.")
def serve(obj: Context, directory: str, people: int, seed: int, port: int, profile: str, queue_seconds: float) -> int:
    """Serve all simulators until SIGTERM. Writes a ready syncd.yaml and mapping.yaml.

    Prints one line of JSON when everything answers: {"ready": true, "control": URL, "config": PATH}.
    """
    from connectors.sim import sandbox as simulators

    return simulators.main(["--dir", directory, "--people", str(people), "--seed", str(seed), "--port", str(port),
                            "--profile", profile, "--queue-seconds", str(queue_seconds)])


@command(name="demo")
@click.argument("arguments", nargs=-1)
def demo(obj: Context, arguments: tuple[str, ...]) -> int:
    """A guided tour in the sandbox: link, plan, approve, unsubscribe, explain."""
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec("syncd.demo") is None:
        raise Failure(USAGE, "this installation has no tour.", next="Look around with `syncd sandbox serve`.")
    return int(import_module("syncd.demo").main(list(arguments), as_json=obj.json) or 0)


COMMANDS = (sandbox, demo)
