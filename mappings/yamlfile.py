"""YAML 1.2 files as plain data with a place for every key and value.

Refused with their place: duplicate keys, tags, more than one document, anything that is not UTF-8, files over 1 MB
and documents that aliases blow up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mappings.problems import Place, Problem

MAX_BYTES = 1 << 20
MAX_NODES = 20_000

Step = str | int
Trail = tuple[Step, ...]


class Unreadable(ValueError):
    """The file cannot be read as YAML at all; ``problem`` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


HINTS = {
    "block end": "What belongs together begins in the same column.",
    "cannot start any token": "Indent with spaces, and quote texts that begin with a sign.",
    "mapping values are not allowed": 'Put a text that holds ": " in quotes; a key begins in the column of its neighbours.'}
"""A part of the reader's own words -> what to do about it."""


class Source:
    """One file: ``data`` is plain dicts, lists and scalars; ``place`` finds any node by its trail of keys."""

    def __init__(self, file: str, text: str, tree: Any) -> None:
        self.file = file
        self._lines = text.split("\n")
        self._places: dict[Trail, Place] = {(): Place(file, 1, 1)}
        self._keys: dict[Trail, Place] = {}
        self._nodes = 0
        self.data = self._plain(tree, ())

    def place(self, trail: Sequence[Step]) -> Place:
        """The value at ``trail``, or the nearest node above it that exists."""
        return self._nearest(self._places, trail)

    def key(self, trail: Sequence[Step]) -> Place:
        """The key that leads to ``trail`` (the value itself in a list)."""
        steps = tuple(trail)
        return self._keys.get(steps) or self.place(steps)

    @staticmethod
    def _nearest(places: dict[Trail, Place], trail: Sequence[Step]) -> Place:
        steps = tuple(trail)
        while steps not in places:
            steps = steps[:-1]
        return places[steps]

    def text_place(self, place: Place, text: str) -> Place | None:
        """Where the first character of a one-line scalar's text stands; None when the text is folded or escaped."""
        if not 0 < place.line <= len(self._lines):
            return None
        line, start = self._lines[place.line - 1], place.column - 1
        for skip in (0, 1):
            if line.startswith(text, start + skip) and (skip == 0 or line[start:start + 1] in ("'", '"')):
                return Place(place.file, place.line, place.column + skip)
        return None

    def _plain(self, node: Any, trail: Trail) -> Any:
        from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar

        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unreadable(Problem.at(Place(self.file), f"The file holds more than {MAX_NODES} values.",
                                        "Split it, or use fewer aliases."))
        tag = getattr(node, "tag", None)
        if isinstance(node, TaggedScalar) or (tag is not None and getattr(tag, "value", None)):
            raise Unreadable(Problem.at(self.place(trail), "YAML tags are not supported.", "Remove the tag."))
        if isinstance(node, CommentedMap):
            plain: dict[str, Any] = {}
            for key, value in node.items():
                name = self._name(key)
                if name in plain:  # true: and "true": are one key to us and two to YAML
                    raise Unreadable(Problem.at(self._at(node.lc.key, key) or self.place(trail),
                                                f'The key "{name}" is written twice.', "Remove one of them."))
                plain[name] = self._child(node.lc.value, node.lc.key, key, value, (*trail, name))
            return plain
        if isinstance(node, CommentedSeq):
            return [self._child(node.lc.item, None, index, value, (*trail, index)) for index, value in enumerate(node)]
        return _scalar(node)

    def _child(self, position: Any, key_position: Any, key: Any, value: Any, trail: Trail) -> Any:
        self._places[trail] = self._at(position, key) or self.place(trail[:-1])
        at_key = self._at(key_position, key) if key_position else None
        if at_key is not None:
            self._keys[trail] = at_key
        return self._plain(value, trail)

    def _at(self, position: Any, key: Any) -> Place | None:
        try:
            line, column = position(key)
        except KeyError:  # a key merged in with "<<" has no place of its own
            return None
        return Place(self.file, line + 1, column + 1)

    @staticmethod
    def _name(key: Any) -> str:
        """Keys are words: ``true:`` and ``7:`` are read as they are spelled."""
        if isinstance(key, bool):
            return "true" if key else "false"
        return "null" if key is None else str(key)


def _scalar(node: Any) -> Any:
    """A plain Python value: ruamel's own scalars remember their spelling, which nobody needs here."""
    if isinstance(node, bool) or node is None:
        return node
    for plain in (str, int, float):
        if isinstance(node, plain):
            return plain(node)
    return bool(node) if type(node).__name__ == "ScalarBoolean" else str(node)


def read(path: Path, shown: str | None = None) -> Source:
    """Read one file.

    :raises Unreadable: it is missing, too large, not UTF-8 or not YAML
    """
    file = shown or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        remedy = ("Name one that is there, or let `syncd init` write a first one." if isinstance(error, FileNotFoundError)
                  else "Check the path and its permissions.")
        raise Unreadable(Problem(file, 0, 0, f"The file cannot be read: {error.strerror}.", remedy)) from None
    if len(raw) > MAX_BYTES:
        raise Unreadable(Problem(file, 0, 0, "The file is larger than 1 MB.", "Split it into several files."))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable(Problem(file, line, 1, "The file is not UTF-8.", "Save it as UTF-8.")) from None
    return parse(text, file)


def parse(text: str, file: str) -> Source:
    """Parse the text of one file.

    :raises Unreadable: with the place of the first fault
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    loader = YAML(typ="rt")
    loader.allow_duplicate_keys = False
    try:
        tree = loader.load(text)
        return Source(file, text, {} if tree is None else tree)
    except Unreadable:
        raise
    except DuplicateKeyError as error:
        name = re.search(r'duplicate key "(.*?)"', str(error))
        what = f'The key "{name[1]}"' if name else "A key"
        raise Unreadable(_marked(file, error, f"{what} is written twice.", "Remove one of them.")) from None
    except MarkedYAMLError as error:
        remedy = next((hint for sign, hint in HINTS.items() if sign in str(error.problem)), "")
        raise Unreadable(_marked(file, error, f"This is not YAML: {error.problem}.", remedy)) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(Problem(file, 0, 0, f"This is not YAML: {type(error).__name__}.")) from None


def _marked(file: str, error: Any, message: str, remedy: str = "") -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    return Problem(file, line, column, message, remedy)


def walk(data: Any, trail: Trail = ()) -> Iterator[tuple[Trail, Any]]:
    """Every scalar below ``data`` with its trail."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from walk(value, (*trail, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from walk(value, (*trail, index))
    else:
        yield trail, data
