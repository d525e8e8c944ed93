"""The tree stays one in which a newcomer finds the way: nothing grows past the size at which a concept is missing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("syncd", "connectors", "mappings", "state")
VENDORS = ("salesforce", "odoo", "marketing_cloud", "memory")

FILE, FUNCTION, ROOM = 400, 50, 1_500
"""The most lines of a file, of one function, and of a vendor's room: the files of one folder."""


def sources(root: Path, *folders: str) -> Iterator[tuple[Path, str]]:
    """(path, text) of every module below some folders."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root), path.read_text(encoding="utf-8")


def long_files(root: Path) -> list[str]:
    return [f"{path}: {count} lines" for path, text in sources(root, *PRODUCT, "tests")
            if (count := text.count("\n")) > FILE]


def long_functions(root: Path) -> list[str]:
    found = []
    for path, text in sources(root, *PRODUCT, "tests"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or 0) - node.lineno + 1
                if count > FUNCTION:
                    found.append(f"{path}: {node.name} has {count} lines")
    return found


def large_rooms(root: Path) -> list[str]:
    rooms: dict[Path, int] = {}
    for path, text in sources(root, *(f"connectors/{vendor}" for vendor in VENDORS)):
        rooms[path.parent] = rooms.get(path.parent, 0) + text.count("\n")
    return [f"{room}: {count} lines" for room, count in rooms.items() if count > ROOM]


def borrowed_tests(root: Path) -> list[str]:
    """Imports of test modules: what two of them need belongs into a third that holds no tests."""
    found = []
    for path, text in sources(root, "tests"):
        for node in ast.walk(ast.parse(text)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import | ast.ImportFrom):
                names += [alias.name for alias in node.names]
            found += [f"{path} imports {name}" for name in names
                      if any(part.startswith("test_") for part in name.split(".")) and "." in name]
    return found


def test_the_tree_has_no_room_too_large_and_no_test_that_leans_on_another() -> None:
    assert [*long_files(ROOT), *long_functions(ROOT), *large_rooms(ROOT), *borrowed_tests(ROOT)] == []


def test_each_is_found(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    lines = "x = 1\n"
    write("syncd/pull.py", lines * (FILE + 1))
    write("state/plan.py", "def plan():\n" + f"    {lines}" * FUNCTION)
    for number in range(4):
        write(f"connectors/odoo/wire/part{number}.py", lines * FILE)
    write("connectors/odoo/consent/reading.py", lines * FILE)
    write("tests/unit/test_pull.py", "from tests.unit.test_plan import made\n")
    assert long_files(tmp_path) == ["syncd/pull.py: 401 lines"]
    assert long_functions(tmp_path) == ["state/plan.py: plan has 51 lines"]
    assert large_rooms(tmp_path) == ["connectors/odoo/wire: 1600 lines"]
    assert borrowed_tests(tmp_path) == ["tests/unit/test_pull.py imports tests.unit.test_plan"]
