-- Operations that are planned or held are found by the index operation_guarded, whose condition every query here repeats. What changes many of
-- them changes a part and is run until nothing is left: SQLite keeps what one statement overwrites in memory.

-- name: planned
-- What the guard looks at, per object: planned now or held already by its limits.
-- Grouped as the index has them: a plan of a million rows is not sorted.
SELECT o.connection, o.object, o.kind, o.class, count(*), sum(o.before IS NULL), sum(o.permit IS NULL OR o.permit = 0)
FROM operation o INDEXED BY operation_guarded
WHERE o.state IN (0, 1) AND (o.state = 0 OR (o.state = 1 AND o.hold IN (SELECT id FROM hold WHERE class <> 'mapping')))
AND NOT (o.kind = 'remove' AND o.class = 2 AND o.record <> 0 AND o.person <> 0)   -- under a former key: nobody leaves
GROUP BY o.state, o.object, o.kind, o.class;

-- name: approved
SELECT id, name, approved_at IS NOT NULL FROM connection;

-- name: open_hold
INSERT INTO hold (connection, object, class, reason, opened_at) VALUES (:connection, :object, :class, :reason, :now)
ON CONFLICT (connection, object, class) WHERE closed_at IS NULL DO UPDATE SET reason = excluded.reason RETURNING id;

-- name: find_hold
SELECT id FROM hold WHERE connection = :connection AND object IS :object AND class = :class AND closed_at IS NULL;

-- name: waiting
-- Whether anything is planned or queued at a connection.
SELECT EXISTS (SELECT 1 FROM queued WHERE connection = :connection)
  OR EXISTS (SELECT 1 FROM operation WHERE state IN (0, 1) AND state = 0 AND connection = :connection);

-- name: queue_connection
-- Its lane is shut as long as nobody has approved its first plan.
UPDATE operation SET state = 2 WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 AND connection = :connection LIMIT :most);

-- name: hold_open
-- Everything but opt-outs.
UPDATE operation SET state = 1, hold = :hold WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 AND connection = :connection AND class > 0 LIMIT :most);

-- name: hold_removals
UPDATE operation SET state = 1, hold = :hold WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 AND object = :object AND kind = 'remove' AND class > 0
  AND (record = 0 OR person = 0) LIMIT :most);

-- name: hold_creations
UPDATE operation SET state = 1, hold = :hold WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 AND object = :object AND kind = 'upsert' AND before IS NULL
  AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.position = operation.permit AND e.retracts IS NOT NULL) LIMIT :most);

-- name: taken_back
-- Rows that are added again because an admin retracted what had removed them.
SELECT count(*) FROM operation WHERE state IN (0, 1) AND object = ? AND kind = 'upsert' AND before IS NULL
AND EXISTS (SELECT 1 FROM entry e WHERE e.position = operation.permit AND e.retracts IS NOT NULL);

-- name: hold_updates
UPDATE operation SET state = 1, hold = :hold WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 AND object = :object AND kind = 'upsert' AND before IS NOT NULL LIMIT :most);

-- name: hold_reopenings
UPDATE operation SET state = 1, hold = :hold WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 AND object = :object AND class = 1
  AND kind IN ('status', 'update') AND (permit IS NULL OR permit = 0) LIMIT :most);

-- name: queued_by_run
SELECT 1 FROM queued WHERE class > 0 AND run = :run AND connection = :connection LIMIT 1;

-- name: hold_run
UPDATE operation SET state = 1, hold = :hold WHERE id IN (
  SELECT id FROM queued WHERE class > 0 AND run = :run AND connection = :connection LIMIT :most);

-- name: release
UPDATE operation SET state = 2, hold = NULL WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 LIMIT :most);

-- name: release_opt_outs
UPDATE operation SET state = 2 WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 0 AND class = 0 LIMIT :most);

-- name: approve_hold
UPDATE operation SET state = 2, hold = NULL WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 1 AND hold = :hold LIMIT :most);

-- name: approve
-- What it holds is queued after this, part by part; nothing new comes under a closed hold.
UPDATE hold SET closed_at = :now, verdict = 'approved', freed = 0 WHERE id = :hold AND closed_at IS NULL;

-- name: being_freed
SELECT id FROM hold WHERE freed = 0;

-- name: freed
UPDATE hold SET freed = 1 WHERE id = ?;

-- name: held_by
SELECT iif(h.class = 'first_plan', (SELECT count(*) FROM queued o WHERE o.connection = h.connection),
    (SELECT count(*) FROM operation o WHERE o.state IN (0, 1) AND o.state = 1 AND o.hold = h.id)) FROM hold h WHERE h.id = ?;

-- name: reject_first_plan
-- Its opt-outs stay for the next one: a verdict about a plan drops none.
UPDATE operation SET state = 12, reason = 'rejected_by_operator', closed_at = :now WHERE id IN (
  SELECT id FROM queued WHERE connection = :connection AND class > 0 LIMIT :most);

-- name: reject_hold
UPDATE operation SET state = 12, reason = 'rejected_by_operator', closed_at = :now WHERE id IN (
  SELECT id FROM operation WHERE state IN (0, 1) AND state = 1 AND hold = :hold LIMIT :most);

-- name: remember_rejected
-- Of limits that stopped removals and creations; a plan or a mapping that was rejected is corrected, and asks anew.
INSERT OR IGNORE INTO rejection SELECT o.object, o.person, o.kind FROM operation o
CROSS JOIN hold h ON h.id = o.hold AND h.class IN ('removals', 'creations')
WHERE o.state IN (0, 1) AND o.state = 1 AND o.hold = ? AND o.person <> 0;

-- name: close_hold
UPDATE hold SET closed_at = :now, verdict = :verdict WHERE id = :hold AND closed_at IS NULL;

-- name: empty_holds
UPDATE hold SET closed_at = ?, verdict = 'resolved'
WHERE closed_at IS NULL AND class NOT IN ('empty_source', 'vanished', 'burst', 'existing_keys')
AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.state IN (0, 1) AND o.state = 1 AND o.hold = hold.id)
AND NOT (class = 'first_plan' AND EXISTS (SELECT 1 FROM queued o WHERE o.connection = hold.connection));

-- name: doubled
-- People to be linked whose address is that of a subscriber under a key that is nobody's here; and all people to be linked.
SELECT (SELECT count(DISTINCT k.person) FROM remote_status s CROSS JOIN record r ON r.address = s.address
    CROSS JOIN attr a ON a.person = r.person AND a.address = s.address
    CROSS JOIN subscriber_key k ON k.connection = s.connection AND k.person = r.person AND k.until = 0
    WHERE s.connection = :connection AND s.container = '' AND s.status <> 'removed'
    AND s.key NOT GLOB 'address:*'
    AND NOT EXISTS (SELECT 1 FROM subscriber_key o WHERE o.connection = s.connection AND o.key = s.key)
    AND NOT EXISTS (SELECT 1 FROM remote_status o WHERE o.connection = s.connection AND o.container = '' AND o.key = k.key
      AND o.status <> 'removed')),
  (SELECT count(*) FROM subscriber_key WHERE connection = :connection AND until = 0);

-- name: doubles_accepted
SELECT 1 FROM hold WHERE connection = ? AND class = 'existing_keys' AND verdict = 'approved';

-- name: holds_of_doubled
SELECT connection, id FROM hold WHERE class = 'existing_keys' AND closed_at IS NULL;

-- name: doubles
SELECT c.name, h.id, h.reason FROM hold h CROSS JOIN connection c ON c.id = h.connection
WHERE h.class = 'existing_keys' AND h.closed_at IS NULL AND (? IS NULL OR h.connection = ?);

-- name: empty_accepted
SELECT 1 FROM hold h WHERE h.connection = ? AND h.object = ? AND h.class = 'empty_source' AND h.verdict = 'approved'
AND h.closed_at > (SELECT coalesce(s.full_at, 0) FROM stream s WHERE s.id = ?);

-- name: open_holds
-- What a first plan holds may be much: NULL where the caller has counted it (:counted).
SELECT h.id, c.name, b.name, h.class, h.reason, h.opened_at,
  CASE WHEN h.class = 'first_plan' THEN iif(:counted, NULL, (SELECT count(*) FROM queued o WHERE o.connection = h.connection))
    ELSE (SELECT count(*) FROM operation o WHERE o.state IN (0, 1) AND o.state = 1 AND o.hold = h.id) END
FROM hold h CROSS JOIN connection c ON c.id = h.connection LEFT JOIN object b ON b.id = h.object
WHERE h.closed_at IS NULL ORDER BY h.id;

-- name: objects
SELECT b.id, c.name, b.name FROM object b CROSS JOIN connection c ON c.id = b.connection ORDER BY b.id;

-- name: next_pending
-- The next person of whom anything of an object is open.
SELECT min(o.person) FROM operation o INDEXED BY operation_wish WHERE o.state < 3 AND o.object = :object AND o.person > :after;

-- name: pending
-- Everything a plan covers of some people, column by column, in an order that does not depend on when it was computed: that of
-- the index. Of each operation one letter tells kind, class, whether there was nothing before and whether it is held. Opt-outs
-- are counted, and not part of the plan's hash.
SELECT group_concat(char(64 + 16 * w.kind + 4 * w.class + 2 * w.fresh + w.held), ''),
  group_concat(w.person) FILTER (WHERE w.class > 0), group_concat(w.record) FILTER (WHERE w.class > 0),
  json_group_array(w.key) FILTER (WHERE w.class > 0), group_concat(w.payload, char(10)) FILTER (WHERE w.class > 0)
FROM (SELECT CASE o.kind WHEN 'upsert' THEN 0 WHEN 'remove' THEN 1 WHEN 'status' THEN 2 ELSE 3 END AS kind, o.class,
    o.before IS NULL AS fresh, o.state = 1 AS held, o.person, o.record, o.key, coalesce(o.payload, '') AS payload
  FROM operation o INDEXED BY operation_wish
  WHERE o.state < 3 AND o.object = :object AND o.person >= :first AND o.person < :end AND o.state <> 0
  AND NOT ((SELECT EXISTS (SELECT 1 FROM parcel WHERE batch IS NOT NULL)) AND o.state = -1   -- with the provider already
    AND EXISTS (SELECT 1 FROM parcel l INDEXED BY parcel_batch WHERE l.batch IS NOT NULL AND o.id BETWEEN l.first AND l.last))
  ORDER BY o.person, o.record) w;

-- name: past_a_stop
-- Of the people who are to be added to an audience, how many had stopped all marketing.
SELECT count(*), coalesce(sum(:stopped), 0) FROM operation o INDEXED BY operation_wish CROSS JOIN decision d ON d.person = o.person
WHERE o.state < 3 AND o.object = :object AND o.kind = 'upsert' AND o.before IS NULL
AND NOT ((SELECT EXISTS (SELECT 1 FROM parcel WHERE batch IS NOT NULL)) AND o.state = -1
  AND EXISTS (SELECT 1 FROM parcel l INDEXED BY parcel_batch WHERE l.batch IS NOT NULL AND o.id BETWEEN l.first AND l.last));

-- name: newer
-- Pending operations that a plan does not cover although it would have to.
SELECT count(*) FROM operation NOT INDEXED WHERE state < 3 AND state <> 0 AND class > 0 AND id > ?;

-- name: save_plan
INSERT OR IGNORE INTO plan (id, created_at, mapping, head, last_operation, counts) VALUES (?, ?, ?, ?, ?, ?);

-- name: last_operation
SELECT coalesce(max(id), 0) FROM operation;

-- name: to_approve
-- The holds that the approval of a plan ends.
SELECT id FROM hold WHERE closed_at IS NULL AND class NOT IN ('empty_source', 'vanished', 'burst', 'existing_keys') ORDER BY id;

-- name: plan
SELECT id, created_at, mapping, head, last_operation, counts, approved_at FROM plan WHERE id = ?;

-- name: approve_plan
UPDATE plan SET approved_at = ?, approved_by = ? WHERE id = ?;

-- name: approve_mapping
-- The mapping the held operations were made by. Another may be in force by now of which nothing was planned yet.
INSERT OR REPLACE INTO meta SELECT 'approved_mapping', value FROM meta WHERE name = 'planned_mapping';

-- name: planned_by
INSERT INTO meta VALUES ('planned_mapping', :mapping) ON CONFLICT (name) DO UPDATE SET value = excluded.value
WHERE value <> excluded.value;

-- name: approve_connections
UPDATE connection SET approved_at = ? WHERE approved_at IS NULL;
