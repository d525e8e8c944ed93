"""Many rows to a statement are the rows one by one."""

from __future__ import annotations

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
