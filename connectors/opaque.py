"""Texts that a connector hands out and is handed back, perhaps by another version of it: cursors, and notes of what it has
learnt. Nobody else looks into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from connectors.errors import CursorLost

T = TypeVar("T")


def write(version: int, content: object) -> str:
    """``content`` (whatever JSON holds, dataclasses too) as the text of a version of its form."""
    return orjson.dumps([version, content]).decode()


def read(text: str, version: int, build: Callable[[Any], T]) -> T | None:
    """What ``build`` makes of a content that this version wrote; None for every other text. ``build`` may assume its form:
    what it stumbles over is another text."""
    try:
        wrote, content = orjson.loads(text)
        return build(content) if wrote == version else None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def cursor(text: str, version: int, build: Callable[[Any], T], vendor: str) -> T:
    """As ``read``, of a position in a stream.

    :raises CursorLost: it cannot be read
    """
    found = read(text, version, build)
    if found is None:
        raise CursorLost(f"The stored position of a {vendor} stream cannot be read.", remedy="It is read anew.")
    return found
