"""sandbox and demo: syncd without a CRM and without an ESP."""

from __future__ import annotations

import click

from syncd.cli.common import Context, command

MIN_DEMO = 300
"""In a smaller world there is nobody for some of the demonstration's stories."""


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
@click.option("--people", type=click.IntRange(MIN_DEMO), default=3000, show_default=True, help="Who lives in the sandbox.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same world.")
@click.option("--keep", metavar="DIR", type=click.Path(file_okay=False),
              help="Keep configuration, mapping and state in this new directory.")
def demo(obj: Context, people: int, seed: int, keep: str | None) -> int:
    """Show everything at work on simulated vendors: link, plan, approve, mail, opt out, come back.

    Ends with 0 only if all sides agree at the end. Shows addresses, all of them invented.
    """
    from syncd.demo import run

    return run(people, seed, keep, obj.json)


COMMANDS = (sandbox, demo)
