"""Many rows to a statement are the rows one by one."""

from __future__ import annotations

from typing import Any

import pytest

from state import db

LARGEST = max(db.AT_ONCE)


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, LARGEST - 1, LARGEST, 2 * LARGEST + 51])
def test_every_row_arrives_once_and_in_order(count: int) -> None:
    conn = db.connect(":memory:")
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT, fixed INTEGER, bytes BLOB)")
    rows = [(f"word {n}", n.to_bytes(4, "big") if n % 3 else None) for n in range(count)]
    db.insert(conn, "INSERT INTO t (word, fixed, bytes) VALUES (?, 7, ?);\n", iter(rows))
    assert conn.execute("SELECT word, bytes FROM t WHERE fixed = 7 ORDER BY id").fetchall() == rows
    conn.close()


def test_wide_rows_go_with_fewer_to_a_statement() -> None:
    width = db.PARAMETERS // 10
    conn = db.connect(":memory:")
    conn.execute(f"CREATE TABLE t ({', '.join(f'c{n}' for n in range(width))})")
    rows = [tuple(range(n, n + width)) for n in range(60)]
    db.insert(conn, f"INSERT INTO t VALUES ({','.join('?' * width)})", rows)
    assert conn.execute("SELECT * FROM t ORDER BY rowid").fetchall() == rows
    conn.close()


@pytest.mark.parametrize("count", [1, 49, 50, 51, LARGEST - 1, LARGEST, 2 * LARGEST + 51])
@pytest.mark.parametrize("odd", [None, b"short", "text"], ids=["nothing", "other bytes", "text"])
def test_columns_are_their_rows(count: int, odd: bytes | str | None) -> None:
    conn = db.connect(":memory:")
    hashes: list[bytes | str | None] = [n.to_bytes(16, "big") for n in range(count)]
    columns: dict[str, list[Any] | range] = {
        "hash": hashes, "n": range(7, 7 + count), "no": [None] * count, "one": [1] * count,
        "some": [n % 2 for n in range(count)], "salt": [n.to_bytes(3, "little") for n in range(count)],
        "mixed": [*hashes[1:], odd]}
    conn.execute(f"CREATE TABLE t ({', '.join(columns)})")
    db.insert_columns(conn, "t", columns)
    assert conn.execute("SELECT * FROM t ORDER BY n").fetchall() == list(zip(*columns.values(), strict=True))
    conn.close()
