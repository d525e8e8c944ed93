"""``syncd`` itself: the options before the verb, and all the verbs."""

from __future__ import annotations

import click

from syncd import __version__
from syncd.cli import care, connections, holds, keys, lists, looking, playing, quarantine, setup, sync
from syncd.cli.common import Context, Root, epilogue
from syncd.failures import EXITS


@click.group("syncd", cls=Root, epilog=epilogue(*EXITS),
             context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="syncd")
@click.option("--config", envvar="SYNCD_CONFIG", metavar="FILE",
              help="The configuration; otherwise ./syncd.yaml or /etc/syncd/syncd.yaml.")
@click.option("--debug", is_flag=True, help="Show where an error came from. May print personal data.")
@click.pass_context
def main(context: click.Context, config: str | None, debug: bool) -> None:
    """Keeps email service providers in step with a CRM, and carries every unsubscribe back.

    Data goes to standard output, messages to standard error; every command takes --json.
    """
    context.obj = Context(config, debug)


for module in (setup, sync, looking, connections, holds, quarantine, keys, lists, care, playing):
    for one in module.COMMANDS:
        main.add_command(one)
