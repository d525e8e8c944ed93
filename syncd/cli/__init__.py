"""The command line. One module per group of commands; this one only puts them together.

Modules here import click and the standard library when they are loaded, and the rest of syncd when a command runs, so
that ``syncd --help`` and shell completion answer at once.
"""

from __future__ import annotations

from syncd.cli.root import main

__all__ = ["main"]
