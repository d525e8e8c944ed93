"""Writes docs/configuration.md: every key of ``syncd.yaml`` and of a mapping file, from the schemas that editors use.

    python -m tests.system.reference
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mappings.schema import mapping_schema
from syncd.config import config_schema

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
Node = Mapping[str, Any]

HEAD = """\
# Every key of the configuration

Written by `make docs` from the schemas that `syncd schema config` and `syncd schema mapping` print for editors. Examples are
in the [README](../README.md#a-real-configuration), in what `syncd init` writes, and, with everything in it, in the mapping
that `syncd sandbox serve` writes. `syncd check` finds mistakes. Keys in **bold** must be there; NAME stands for a name of
yours. A duration is `90s`, `15m`, `1h` or `1d`, a share `30%`; where no default stands, what is usual at the vendor counts.
What may stand in an *expression* is told in [expressions.md](expressions.md), what consent means in [consent.md](consent.md)
and [sides.md](sides.md), the numbers of `guards` in [operating.md](operating.md#holds).
"""
OWN_NAMES = {"sources": "STREAM", "consent": "SOURCE"}
HIDDEN = {"Memory"}
"""For tests alone."""
DURATION = r"^\d{1,9}(ms|s|m|h|d)$"
UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}
"""Of durations, in µs; the first that goes into one evenly."""


def page() -> str:
    """The page as it should be."""
    parts = [HEAD]
    for title, schema in (("syncd.yaml", config_schema()), ("A mapping file", mapping_schema())):
        parts.append(f"## {title}\n")
        parts += ["\n".join(lines) + "\n" for lines in _sections(schema)]
    return "\n".join(parts)


def _sections(schema: Node) -> Iterator[list[str]]:
    """Tables: the file's own keys first, then those of whatever they hold, each kind of thing once."""
    definitions: Node = schema.get("definitions", {})
    todo, seen = [("", schema)], set[int]()
    while todo:
        path, node = todo.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        lines = [f"### `{path}`\n"] if path else []
        below: list[tuple[str, Node]] = []
        lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
        for key, about in node["properties"].items():
            name = f"**{key}**" if key in node.get("required", ()) else key
            lines.append(f"| {name} | {_value(about, definitions)} | {_default(about)} | {_text(about)} |")
            below += [(f"{path}.{key}".lstrip(".") + rest, inner) for rest, inner in _inner(key, about, definitions)]
        todo = below + todo
        yield lines


def _default(about: Node) -> str:
    value = about.get("default")
    if value in (None, [], {}) or isinstance(value, dict):
        return ""
    if about.get("pattern") == DURATION and isinstance(value, int):
        value = next(f"{value // size}{unit}" for unit, size in UNITS.items() if value % size == 0)
    if isinstance(value, list):
        value = ", ".join(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _text(about: Node) -> str:
    return str(about.get("description", "")).split("\n")[0].replace("|", "or")


def _inner(key: str, about: Node, definitions: Node) -> Iterator[tuple[str, Node]]:
    """What a value may hold that has keys of its own: (the path to it from the key, its schema)."""
    for form in (*about.get("anyOf", ()), *about.get("oneOf", ()), *about.get("allOf", ())):
        yield from _inner(key, form, definitions)
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        if name not in HIDDEN and "properties" in (found := definitions[name]):
            kind = found["properties"].get("type", {}).get("const") or found["properties"].get("flow", {}).get("const")
            yield (f" ({kind})" if kind else "", found)
    for rest in (about.get("additionalProperties"), *about.get("patternProperties", {}).values()):
        if isinstance(rest, dict):
            yield from ((f".{OWN_NAMES.get(key, 'NAME')}{more}", found) for more, found in _inner(key, rest, definitions))


def _value(about: Node, definitions: Node) -> str:
    """What may be written, in a few words."""
    forms = [f for f in (*about.get("anyOf", ()), *about.get("oneOf", ()), *about.get("allOf", ()))
             if f.get("type") != "null"]
    if forms:
        forms = forms[:1] if "%" in str(forms[0].get("pattern")) else forms
        return " or ".join(dict.fromkeys(_value(f, definitions) for f in forms))
    if "$ref" in about:
        found = definitions[about["$ref"].rpartition("/")[2]]
        return "keys, below" if "properties" in found else _value(found, definitions)
    if "enum" in about:
        return ", ".join(f"`{word}`" for word in about["enum"])
    if about.get("pattern") == DURATION:
        return "duration"
    if "%" in str(about.get("pattern")):
        return "share"
    if isinstance(about.get("type"), list):
        return "text or number"
    if "const" in about:
        return f"`{about['const']}`"
    if about.get("type") == "array":
        return f"list of {_value(about.get('items', {}), definitions)}"
    if about.get("type") == "object":
        return "by name" if _own_keys(about, definitions) else "name: value"
    return {"string": "text", "integer": "number", "boolean": "`true`, `false`"}.get(str(about.get("type")), "number")


def _own_keys(about: Node, definitions: Node) -> bool:
    return any(_inner("", {"additionalProperties": rest}, definitions) and "$ref" in str(rest)
               for rest in (about.get("additionalProperties"), *about.get("patternProperties", {}).values()))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
