"""Texts handed back to a connector: its own, another version's, anybody's."""

from __future__ import annotations

from typing import Any

import pytest

from connectors import opaque
from connectors.errors import CursorLost


def pair(content: Any) -> tuple[int, str]:
    first, second = content
    return int(first), str(second.lower())


def test_what_this_version_wrote_is_read() -> None:
    assert opaque.read(opaque.write(3, [7, "A"]), 3, pair) == (7, "a")


@pytest.mark.parametrize("text", [
    "", "x", "[]", "{}", "null", "[3]", '{"v":3}', opaque.write(2, [7, "A"]), opaque.write(3, [7]), opaque.write(3, None),
    opaque.write(3, ["x", "A"]), opaque.write(3, [7, None])])
def test_nothing_else_is(text: str) -> None:
    assert opaque.read(text, 3, pair) is None
    with pytest.raises(CursorLost, match="The stored position of a Vendor stream cannot be read"):
        opaque.cursor(text, 3, pair, "Vendor")
