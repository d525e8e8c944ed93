"""What the state remembers of a time that has not come: the host's clock was set back.

A clock that was years ahead for a minute must not leave full listings, retries and questions waiting for those years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import db
from state.queries import load

if TYPE_CHECKING:
    from state.store import Store

DAY = 86_400_000_000


def was_set_back(store: Store, now: int, tolerance: int) -> bool:
    """Whether anything was read later than ``tolerance`` µs from now. If so it counts as read a day ago, so that it is read
    anew and nothing is granted before, and whatever was put off is done at once."""
    q, given = load("registry"), {"now": now, "limit": now + tolerance, "long_ago": now - DAY}
    if not store.rows(q["is_ahead"], given)[0][0]:
        return False

    def job(conn: db.Connection) -> None:
        for name in ("read_long_ago", "retry_at_once", "ask_at_once"):
            conn.execute(q[name], given)
    store.write(job)
    return True
