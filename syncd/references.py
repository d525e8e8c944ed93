"""``${NAME}``, ``${file:path}`` and ``${cred:name}`` in a configuration: what they stand for, kept quiet."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mappings.problems import Problem
from mappings.yamlfile import Source, Trail

_REFERENCE = re.compile(r"\$(?P<escaped>\$\{)|\$\{(?P<inner>[^{}]*)\}")
_MAX_BYTES = 64 * 1024


class Secret:
    """Text that shows itself only to who asks with ``reveal``. Equal texts are equal; there is nothing to print."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: for a connector's settings, never for a log."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not serialised")


class Reference(str):
    """Text that came from outside the file as a whole; only such text may be a secret."""

    __slots__ = ()


class _Unresolved(ValueError):
    """A reference that leads nowhere: message and remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def resolve(source: Source, base: Path, environment: Mapping[str, str] | None = None) -> list[Problem]:
    """Replace every reference in ``source.data`` by what it stands for; ``$${`` is a plain ``${``.

    Files are looked for from ``base``. Returns the references that lead nowhere; their values stay as written.
    """
    env = os.environ if environment is None else environment
    problems: list[Problem] = []

    def visit(value: Any, trail: Trail) -> Any:
        if isinstance(value, dict):
            for key, child in value.items():  # in place: the nodes keep their identity, by which their keys are known
                value[key] = visit(child, (*trail, key))
        elif isinstance(value, list):
            value[:] = [visit(child, (*trail, index)) for index, child in enumerate(value)]
        elif isinstance(value, str) and "$" in value:
            try:
                return _text(value, base, env)
            except _Unresolved as error:
                problems.append(Problem.at(source.place(trail), str(error), error.remedy))
        return value

    visit(source.data, ())
    return problems


def _text(text: str, base: Path, env: Mapping[str, str]) -> str:
    whole = _REFERENCE.fullmatch(text)
    if whole is not None and whole["inner"] is not None:
        return Reference(_lookup(whole["inner"], base, env))
    return _REFERENCE.sub(lambda m: "${" if m["escaped"] else _lookup(m["inner"], base, env), text)


def _lookup(inner: str, base: Path, env: Mapping[str, str]) -> str:
    kind, colon, name = inner.partition(":")
    if not colon:
        return _environment(inner, env)
    reader = _READERS.get(kind)
    if reader is None:
        raise _Unresolved(f'"{kind}:" is no kind of reference.', "Write ${NAME}, ${file:path} or ${cred:name}.")
    return reader(name, base, env)


def _environment(name: str, env: Mapping[str, str]) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise _Unresolved("A reference names an environment variable: letters, digits and underscores.",
                          "Write ${NAME}, ${file:path} or ${cred:name}.")
    value = env.get(name)
    if not value:
        raise _Unresolved(f"The environment variable {name} is not set.", "Set it, or use ${file:path}.")
    return value


def _file(name: str, base: Path, env: Mapping[str, str]) -> str:
    path = base / Path(name).expanduser()
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _Unresolved(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _Unresolved(f"{path} is not UTF-8 text.", "Keep one secret in it, as text.") from None
    if not text or len(raw) > _MAX_BYTES:
        raise _Unresolved(f"{path} is empty or larger than 64 KB.", "Keep one secret in it, as text.")
    return text


def _credential(name: str, base: Path, env: Mapping[str, str]) -> str:
    directory = env.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise _Unresolved("There is no credentials directory.",
                          "Use LoadCredential= in the systemd unit, or set CREDENTIALS_DIRECTORY.")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name in (".", ".."):
        raise _Unresolved("A credential's name is letters, digits, dots, dashes and underscores.", "Rename it.")
    return _file(name, Path(directory), env)


_READERS: Mapping[str, Callable[[str, Path, Mapping[str, str]], str]] = {"file": _file, "cred": _credential}
