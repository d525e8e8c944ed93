"""pydantic's errors as problems with a place, in plain sentences. Values are never quoted: they may be secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from mappings.problems import Problem, did_you_mean
from mappings.yamlfile import Source, Trail

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

_KINDS: dict[str, str] = {
    "string_type": "text", "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "bool_type": "true or false", "dict_type": "a mapping (key: value)", "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)", "list_type": "a list",
}

_PATTERNS = {
    r"^[a-z][a-z0-9_]{0,62}$": "Names are lower-case letters, digits and underscores, and begin with a letter.",
    r"^[a-z][a-z0-9_]*\.[A-Za-z][A-Za-z0-9_.]*$": 'A stream is written connection.Object, such as "sf.Contact".',
    r"^[A-Z]{3}$": 'A currency is a three-letter code, such as "EUR".',
}


def validate(model: type[M], source: Source, context: Mapping[str, Any] | None = None) \
        -> tuple[M | None, list[Problem]]:
    """The file as ``model``, or None and everything that is wrong with it; validators are given ``context``."""
    from pydantic import ValidationError

    from mappings.document import KNOWN_KEYS

    shared: dict[str, Any] = {**(context or {})}
    try:
        return model.model_validate(source.data, context=shared), []
    except ValidationError as error:
        known: dict[int, list[str]] = shared.get(KNOWN_KEYS, {})
        found = error.errors(include_url=False, include_input=False)
        return None, [_problem(source, dict(one), known) for one in found]


def _problem(source: Source, error: dict[str, Any], known: dict[int, list[str]]) -> Problem:
    trail, parent, name = _locate(source.data, error["loc"])
    if error["type"] == "extra_forbidden":
        words = [word for word in known.get(id(parent), []) if not isinstance(parent, dict) or word not in parent]
        return Problem.at(source.key(trail), f'Unknown key "{name}".', did_you_mean(str(name), words))
    if error["type"] == "missing":
        return Problem.at(source.key(trail) if trail else source.place(()),
                          f'The key "{error["loc"][-1]}" is missing.', "Add it.")
    in_key = error["loc"][-1:] == ("[key]",)
    place = source.key(trail) if in_key else source.place(trail)
    where = f'"{trail[-1]}": ' if trail else ""
    message, remedy = _sentence(error)
    return Problem.at(place, where + message, remedy)


def _locate(data: Any, loc: tuple[str | int, ...]) -> tuple[Trail, Any, str | int]:
    """The trail of ``loc`` in the file (pydantic adds steps of its own for unions), the node that holds its last step,
    and that step."""
    trail: list[str | int] = []
    node: Any = data
    parent: Any = data
    for step in loc:
        children: Any = node if isinstance(node, dict) else dict(enumerate(node)) if isinstance(node, list) else {}
        if step in children:
            parent, node = node, children[step]
            trail.append(step)
    return tuple(trail), parent, trail[-1] if trail else ""


def _sentence(error: dict[str, Any]) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _KINDS:
        return f"this must be {_KINDS[kind]}.", ""
    if kind in _SENTENCES:
        return _SENTENCES[kind](context)
    return str(error["msg"]).removeprefix("Value error, "), ""


def _pattern(context: dict[str, Any]) -> tuple[str, str]:
    allowed = _PATTERNS.get(context["pattern"], "Use letters, digits, underscores and dots.")
    return "this is not spelled as it must be.", allowed


def _tag(context: dict[str, Any]) -> tuple[str, str]:
    return f'"{str(context["discriminator"]).strip(chr(39))}" must be one of {context["expected_tags"]}.', ""


_SENTENCES: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "union_tag_invalid": _tag,
    "union_tag_not_found": lambda c: (f"the key {str(c['discriminator']).replace(chr(39), chr(34))} is missing.",
                                      "Add it."),
    "literal_error": lambda c: (f"this must be {c['expected']}.", ""),
    "string_pattern_mismatch": _pattern,
    "string_too_short": lambda c: ("this must not be empty.", ""),
    "string_too_long": lambda c: (f"this is longer than {c['max_length']} characters.", ""),
    "too_short": lambda c: ("this must not be empty.", ""),
    "too_long": lambda c: (f"this holds more than {c['max_length']}.", ""),
    "greater_than": lambda c: (f"this must be more than {c['gt']}.", ""),
    "greater_than_equal": lambda c: (f"this must be at least {c['ge']}.", ""),
    "less_than_equal": lambda c: (f"this must be at most {c['le']}.", ""),
    "less_than": lambda c: (f"this must be less than {c['lt']}.", ""),
}
