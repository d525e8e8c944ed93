-- name: next
-- What can make someone mailable waits for every consent feed. A suppression waits for nothing, not even for the status that
-- should come before it: that one may be refused. A stop of all mail (``:switches``) is opened only when whatever else is to
-- be shut for the person is shut everywhere: one account of a provider may hold the switch of several. Rows wait until their
-- audience is there (``:absent`` could not be created).
SELECT o.object, o.kind, o.columns, o.class, o.max_batch, o.id FROM lane o
WHERE o.connection = :connection AND (o.not_before IS NULL OR o.not_before <= :now)
AND (o.class = 0 OR NOT :only)
AND (o.class = 0 OR o.object NOT IN (SELECT value FROM json_each(:absent)))
AND (o.class = 0 OR :grants OR (o.class = 2 AND o.kind <> 'status'))
AND (o.class = 0 OR o.depends_on IS NULL
  OR NOT EXISTS (SELECT 1 FROM operation p WHERE p.id = o.depends_on AND p.state < 10))
AND (o.class <> 1 OR o.object NOT IN (SELECT value FROM json_each(:switches)) OR NOT EXISTS (
  SELECT 1 FROM operation p WHERE p.person = o.person AND p.class = 0 AND p.kind IN ('status', 'remove') AND p.state < 10))
ORDER BY o.class, o.id LIMIT 1;

-- name: new_batch
INSERT INTO batch (connection, object, kind, columns, state, sealed_at)
VALUES (:connection, :object, :kind, :columns, 'sealed', :now) RETURNING id;

-- name: seal
UPDATE operation SET state = 3, batch = :batch, attempts = attempts + 1 WHERE id IN (
  SELECT o.id FROM operation o
  WHERE o.connection = :connection AND o.state = 2 AND o.object = :object AND o.kind = :kind AND o.columns = :columns
  AND (o.class = 0) = (:class = 0) AND (o.not_before IS NULL OR o.not_before <= :now)
  AND (o.class = 0 OR :grants OR (o.class = 2 AND o.kind <> 'status'))
  AND (o.class = 0 OR o.depends_on IS NULL
  OR NOT EXISTS (SELECT 1 FROM operation p WHERE p.id = o.depends_on AND p.state < 10))
  AND (o.class <> 1 OR o.object NOT IN (SELECT value FROM json_each(:switches)) OR NOT EXISTS (
    SELECT 1 FROM operation p WHERE p.person = o.person AND p.class = 0 AND p.kind IN ('status', 'remove') AND p.state < 10))
  ORDER BY o.class, o.id LIMIT :size);

-- name: stamp
UPDATE operation SET stamp = (SELECT r.stamp FROM record r WHERE r.id = operation.record) WHERE batch = :batch AND state = 3;

-- name: gate
-- Operations as ``batch_ops`` gives them, and of each what keeps it from going: 1 = somebody said something about its person that
-- is not folded yet (who is dirty, then, and will be planned again), 2 = it has to wait for another operation (those of a parcel
-- are not asked before), 3 = the decisions forbid it, 0 = nothing.
SELECT json_group_array(w.id), json_group_array(w.key), json_group_array(w.email), '[' || group_concat(w.payload) || ']',
  group_concat(w.stop, '')
FROM (SELECT o.id, o.key, a.email, o.payload, CASE WHEN o.class > 0 AND (
      o.person IN (SELECT person FROM dirty)
      OR (o.attempts > 1 AND o.person IN (SELECT person FROM waiting))   -- it came back while news waited for another operation
      OR o.person IN (SELECT r.person FROM dirty_record t CROSS JOIN record r ON r.id = t.record)) THEN 1
    WHEN o.depends_on IS NOT NULL AND o.state = -1
      AND EXISTS (SELECT 1 FROM operation p WHERE p.id = o.depends_on AND p.state < 10) THEN 2
    WHEN :forbidden THEN 3 ELSE 0 END AS stop
  FROM operation o LEFT JOIN decision d ON d.person = o.person LEFT JOIN attr v ON v.person = o.person
  LEFT JOIN address a ON a.id = o.address WHERE :members ORDER BY o.id LIMIT :size) w;

-- name: forbidden
v.person IS NULL OR v.address IS NOT o.address OR :mailable IS NOT 1;

-- name: drop_stale
DELETE FROM operation WHERE id = ?;

-- name: drop_forbidden
UPDATE operation SET state = 12, reason = 'gate' WHERE id = ?;

-- name: batch
SELECT b.kind, b.columns, o.name, b.state, b.request_id, b.sealed_at FROM batch b CROSS JOIN object o ON o.id = b.object WHERE b.id = ?;

-- name: batch_size
SELECT count(*), max(class) FROM operation o WHERE :members;

-- name: stamps
SELECT stamp FROM operation WHERE batch = ? AND state = 3 ORDER BY id;

-- name: batch_ops
-- By columns, each as one JSON list: thousands of rows come in one step.
SELECT json_group_array(id), json_group_array(key), json_group_array(email), '[' || group_concat(payload) || ']'
FROM (SELECT o.id, o.key, a.email, o.payload FROM operation o LEFT JOIN address a ON a.id = o.address
  WHERE :members ORDER BY o.id);

-- name: close_batch
UPDATE batch SET state = 'closed' WHERE id = ?;

-- name: open_batches
SELECT id, state, ask_at FROM batch WHERE connection = ? AND state <> 'closed' ORDER BY id;

-- name: open_suppressions
-- Batches without a reply that hold nothing but opt-outs.
SELECT b.id, b.state, b.ask_at FROM batch b WHERE b.connection = ? AND b.state <> 'closed' AND NOT EXISTS
  (SELECT 1 FROM operation o WHERE o.batch = b.id AND o.state = 3 AND o.class <> 0)
AND b.id NOT IN (SELECT batch FROM parcel WHERE batch IS NOT NULL) ORDER BY b.id;

-- name: suppressions_due
SELECT EXISTS (SELECT 1 FROM lane WHERE connection = :connection AND class = 0
  AND (not_before IS NULL OR not_before <= :now));

-- name: ask_later
UPDATE batch SET ask_at = ? WHERE id = ?;

-- name: close_done
-- A create's values are in the target now; its run tells the rest.
UPDATE operation AS o SET state = 10, closed_at = :now, reason = NULL, payload = CASE WHEN before IS NOT NULL THEN payload END,
  batch = :batch, attempts = max(attempts, 1) WHERE :members;

-- name: close_op
UPDATE operation SET state = ?, closed_at = ?, reason = ? WHERE id = ?;

-- name: retry
-- Not what was to remove somebody else's row that is ours by now, or gone. Without a time it waits twice as long as before.
UPDATE operation SET state = 2, batch = NULL, not_before = coalesce(:not_before,
  :now + min(:longest, :backoff << min(max(attempts - 1, 0), 20))), max_batch = coalesce(:max_batch, max_batch),
  reason = :reason
WHERE id = :op AND NOT EXISTS (SELECT 1 FROM operation w WHERE w.object = operation.object AND w.person = operation.person
  AND w.record = operation.record AND w.state < 3)
AND NOT (kind = 'remove' AND record <> 0 AND NOT EXISTS (SELECT 1 FROM foreign_row f WHERE f.id = operation.record));

-- name: superseded
-- Not queued again because a newer wish for the same thing is waiting already, or there is nothing left to do.
UPDATE operation SET state = 12, reason = 'superseded' WHERE id = ? AND state = 3;

-- name: no_subscriber
UPDATE remote_status SET status = 'removed' WHERE (connection, key) IN
  (SELECT connection, key FROM operation WHERE id = ?);

-- name: quarantine
INSERT INTO quarantine (connection, object, key, reason, remedy, consent, opened_at)
SELECT o.connection, :object, o.key, :reason, :remedy, :consent, :now FROM operation o WHERE o.id = :op
ON CONFLICT (connection, object, key, reason) DO UPDATE SET closed_at = NULL,
  consent = iif(closed_at IS NULL, max(consent, excluded.consent), excluded.consent);

-- name: accepted_after_all
UPDATE quarantine SET closed_at = :now WHERE id IN (
  SELECT z.id FROM (SELECT 1 FROM quarantine WHERE closed_at IS NULL LIMIT 1)   -- mostly there is none
  CROSS JOIN operation o CROSS JOIN quarantine z ON z.connection = o.connection AND z.object = :object AND z.key = o.key
    AND z.closed_at IS NULL
  WHERE :members);

-- name: split
INSERT INTO batch (connection, object, kind, columns, state, request_id, sealed_at, ask_at)
SELECT connection, object, kind, columns, :state, :request, sealed_at, :ask FROM batch WHERE id = :batch RETURNING id;

-- name: move_op
UPDATE operation SET batch = ? WHERE id = ?;

-- name: accepted
-- The whole batch under one request.
UPDATE batch SET state = 'accepted', request_id = :request, ask_at = :ask WHERE id = :batch;

-- name: batch_state
UPDATE batch SET state = :state, ask_at = :ask WHERE id = :batch;

-- name: wake_waiting
INSERT OR IGNORE INTO dirty SELECT w.person FROM waiting w WHERE NOT EXISTS
  (SELECT 1 FROM operation o WHERE o.person = w.person AND o.state = 3);

-- name: clear_waiting
DELETE FROM waiting WHERE person IN (SELECT person FROM dirty);

-- name: apply_status
-- What was carried from another key is ours only if it was there.
INSERT INTO remote_status (connection, container, key, address, status, at, origin, ours)
SELECT o.connection, b.name, o.key, o.address, o.payload->>0, :now, 'self', iif(o.payload->>1 = 'key', NULL, o.id)
FROM operation o CROSS JOIN object b ON b.id = o.object WHERE o.batch = :batch AND o.state = 3
ON CONFLICT (connection, container, key) DO UPDATE SET status = excluded.status, at = excluded.at, origin = 'self',
  ours = excluded.ours;

-- name: held_back
-- Addresses that were held back for bounces under the keys of a batch.
SELECT DISTINCT s.address FROM operation o
CROSS JOIN remote_status s ON s.connection = o.connection AND s.container = '' AND s.key = o.key
WHERE o.batch = :batch AND s.status = 'held' AND s.address IS NOT NULL;

-- name: no_longer_foreign
DELETE FROM foreign_row WHERE id IN (SELECT f.id FROM (SELECT 1 FROM foreign_row LIMIT 1)   -- mostly there is none
  CROSS JOIN operation o CROSS JOIN foreign_row f ON f.object = o.object AND f.key = o.key
  WHERE :members);

-- name: foreign_removed
DELETE FROM foreign_row WHERE id IN (SELECT record FROM operation WHERE batch = :batch AND state = 3 AND record <> 0);

-- name: dirty_merged
-- A row of somebody who is part of another by now: that one may move to the key that is free by this.
INSERT OR IGNORE INTO dirty SELECT r.person FROM operation o CROSS JOIN record r ON r.id = o.person
WHERE o.batch = :batch AND o.state = 3 AND r.person <> r.id;

-- name: reread
INSERT INTO reread (record, since) SELECT o.record, b.sealed_at FROM operation o CROSS JOIN batch b ON b.id = o.batch
WHERE o.batch = :batch AND o.state = 3
ON CONFLICT (record) DO UPDATE SET since = min(reread.since, excluded.since);

-- name: object_of
SELECT object FROM batch WHERE id = ?;

-- name: try_again
-- What was put off because its object could not be written as it stood.
UPDATE operation SET not_before = NULL WHERE connection = ? AND state = 2 AND not_before IS NOT NULL
AND reason LIKE ?;

-- name: depth
SELECT (SELECT count(*) FROM queued WHERE connection = :connection AND coalesce(not_before, 0) <= :until
    AND connection IN (SELECT id FROM connection WHERE approved_at IS NOT NULL)),
  (SELECT count(*) FROM operation WHERE state = 3 AND connection = :connection)
  + (SELECT count(*) FROM parcel l CROSS JOIN operation o ON o.id BETWEEN l.first AND l.last AND o.state = -1
     WHERE l.batch IS NOT NULL AND l.connection = :connection);

-- name: reasserted
UPDATE request SET reasserted = reasserted + 1 WHERE field = :field
AND record IN (SELECT record FROM operation WHERE batch = :batch AND state = 3);
