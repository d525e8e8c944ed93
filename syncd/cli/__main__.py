"""``python -m syncd.cli``: the same as ``syncd``."""

from __future__ import annotations

from syncd.cli import main

main(prog_name="syncd")
