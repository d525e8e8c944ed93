"""Named queries from ``sql/*.sql``: ``-- name: x`` starts one, the comment lines after it describe it."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(step: str) -> dict[str, str]:
    """The queries of one step by name."""
    text = (files("state") / "sql" / f"{step}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
