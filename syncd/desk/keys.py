"""Subscriber keys as an operator sees them: who has which at a destination, and the order to move people to the keys that
the mapping gives. ``syncd.moving`` carries it out."""

from __future__ import annotations

from state import keys
from syncd.desk.instance import Instance
from syncd.desk.views import Json
from syncd.failures import USAGE, Failure

LISTED = 1_000
"""Former keys in one answer."""


def survey(instance: Instance, connection: str | None = None) -> Json:
    """How many people have which sort of key, by destination or of the one named.

    :raises Failure: there is no such destination, or the mapping was edited since the last run
    """
    rel = instance.settled.relations
    with instance.store.reading() as conn:
        return {"destinations": [{"connection": name, **keys.survey(conn, rel, id_)._asdict()}
                                 for id_, name in _destinations(instance, connection).items()]}


def former(instance: Instance, connection: str, after: str) -> Json:
    """Keys that were given up, at most ``LISTED``, in their order."""
    [id_] = _destinations(instance, connection)
    with instance.store.reading() as conn:
        return {"former": keys.former(conn, id_, after, LISTED)}


def migrate(instance: Instance, connection: str) -> Json:
    """Give everyone who has another key than the mapping gives that one as the key to come; cycles do the rest. Interrupted,
    it is done again.

    :raises Failure: there is no such destination, or no plan with this mapping was approved
    """
    rel, store = instance.settled.relations, instance.store
    [id_] = _destinations(instance, connection)
    approved = store.rows("SELECT 1 FROM connection WHERE id = ? AND approved_at IS NOT NULL", (id_,))
    if not approved or store.meta("approved_mapping") != rel.fingerprint:
        raise Failure(USAGE, f"no plan of this mapping was approved for {connection}.",
                      next="Look with `syncd plan`, write it with `syncd apply PLAN_ID`; then ask again.")
    store.walk(lambda conn, after, most: keys.begin(conn, rel, id_, after, most), 0)
    return survey(instance, connection)


def stop(instance: Instance, connection: str) -> Json:
    """Whoever has not changed keys yet keeps the present one."""
    [id_] = _destinations(instance, connection)
    stopped = instance.store.write(lambda conn: keys.stop(conn, id_))
    return {"stopped": stopped, **survey(instance, connection)}


def _destinations(instance: Instance, connection: str | None) -> dict[int, str]:
    """The destinations whose subscribers have keys, or the one named, by connection id.

    :raises Failure: there is no such destination
    """
    rel = instance.settled.relations
    keyed = {c.connection for c in rel.containers if c.keyed_by == "key"} & rel.key_values.keys()
    names = {id_: name for id_, name in instance.store.rows("SELECT id, name FROM connection ORDER BY id") if id_ in keyed}
    found = {id_: name for id_, name in names.items() if connection in (None, name)}
    if connection is not None and not found:
        raise Failure(USAGE, f"{connection} is no destination whose subscribers have keys.",
                      next=f"There are: {', '.join(names.values()) or 'none'}.")
    return found
