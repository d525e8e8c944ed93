"""What a plan means where its operations do not say it: a row that is added looks like any other, also where its person
stopped all marketing and gets the mail because it is none."""

from __future__ import annotations

from typing import Any

from state.queries import load
from state.relations import Relations

MARKETING = "marketing"


def notes(conn: Any, rel: Relations, connection: int | None = None) -> tuple[str, ...]:
    """Sentences about what waits, of all connections or of one: who would be mailed a topic past a stop of all marketing."""
    sql, found = load("guard")["past_a_stop"], []
    names = {id_: f"{where} {name}" for id_, where, name in conn.execute(load("guard")["objects"])}
    purposes = {t.id: t.purpose for t in rel.topics}
    for a in rel.audiences:
        if purposes[a.topic] != MARKETING and connection in (None, a.connection):
            added, stopped = conn.execute(sql.replace(":stopped", rel.forbids(a.topic)), {"object": a.object}).fetchone()
            if stopped:
                found.append(f'Mail of the topic "{a.topic}" is {purposes[a.topic]}, which a stop of all marketing does not'
                             f" stop: of {added} people to be added to {names[a.object]}, {stopped} had stopped all"
                             " marketing. Who left the topic itself stays out.")
    return tuple(found)
