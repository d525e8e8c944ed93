-- name: connections
SELECT c.id, c.name, c.role, c.approved_at,
  (SELECT count(*) FROM queued o WHERE o.connection = c.id AND c.approved_at IS NOT NULL),
  (SELECT count(*) FROM batch b WHERE b.connection = c.id AND b.state <> 'closed'),
  (SELECT count(*) FROM quarantine q WHERE q.connection = c.id AND q.closed_at IS NULL),
  c.elsewhere
FROM connection c ORDER BY c.name;

-- name: suppressions
-- The outbox of opt-outs: how many wait, and since which run the oldest of them has been wanted.
SELECT count(*), min((SELECT r.started_at FROM run r WHERE r.id = o.run)) FROM lane o
WHERE o.connection = ? AND o.class = 0;

-- name: streams
SELECT c.name, s.object, s.kind, s.consent, s.cursor IS NOT NULL, s.complete_at, s.full_at, s.error
FROM stream s CROSS JOIN connection c ON c.id = s.connection ORDER BY c.name, s.kind, s.object;

-- name: runs
SELECT id, trigger, started_at, ended_at, outcome, mapping, counts FROM run ORDER BY id DESC LIMIT ?;

-- name: last_run
-- The last cycle, that is: opt-outs on the express way are runs too.
SELECT id, trigger, started_at, ended_at, outcome, mapping, counts FROM run WHERE trigger <> 'webhook' ORDER BY id DESC LIMIT 1;

-- name: run
SELECT id, trigger, started_at, ended_at, outcome, mapping, counts FROM run WHERE id = ?;

-- name: last_good_run
SELECT max(ended_at) FROM run WHERE outcome IN ('ok', 'held', 'left');

-- name: head
SELECT coalesce(max(position), 0) FROM entry;

-- name: hold
SELECT h.id, c.name, b.name, h.class, h.reason, h.opened_at, h.closed_at, h.verdict
FROM hold h CROSS JOIN connection c ON c.id = h.connection LEFT JOIN object b ON b.id = h.object WHERE h.id = ?;

-- name: hold_counts
SELECT b.name, o.kind, o.class, o.before IS NULL, count(*)
FROM (SELECT id FROM operation WHERE state IN (0, 1) AND state = 1 AND hold = ?1
  UNION ALL SELECT o.id FROM hold h CROSS JOIN queued o ON o.connection = h.connection
  WHERE h.id = ?1 AND h.class = 'first_plan' AND h.closed_at IS NULL) w
CROSS JOIN operation o ON o.id = w.id CROSS JOIN object b ON b.id = o.object GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: hold_sample
SELECT b.name, o.kind, o.class, o.before IS NULL, o.person, o.key
FROM (SELECT id FROM operation WHERE state IN (0, 1) AND state = 1 AND hold = :hold
  UNION ALL SELECT o.id FROM hold h CROSS JOIN queued o ON o.connection = h.connection
  WHERE h.id = :hold AND h.class = 'first_plan' AND h.closed_at IS NULL) w
CROSS JOIN operation o ON o.id = w.id CROSS JOIN object b ON b.id = o.object ORDER BY o.id LIMIT :limit;

-- name: quarantine
SELECT q.id, c.name, q.object, q.key, q.reason, q.remedy, q.consent, q.opened_at FROM quarantine q
CROSS JOIN connection c ON c.id = q.connection WHERE q.closed_at IS NULL ORDER BY q.id;

-- name: quarantined
SELECT q.id, c.name, q.object, q.key, q.reason, q.remedy, q.consent, q.opened_at, q.closed_at, q.connection
FROM quarantine q CROSS JOIN connection c ON c.id = q.connection WHERE q.id = ?;

-- name: quarantined_people
-- The people a remote key can mean: its subscriber, its CRM record, whoever holds it as an address.
SELECT person FROM subscriber_key WHERE connection = :connection AND key = :key
UNION SELECT r.person FROM stream s CROSS JOIN record r ON r.stream = s.id AND r.rid = :key
  WHERE s.connection = :connection AND s.kind = 'record'
UNION SELECT r.person FROM record r WHERE r.address = (SELECT address FROM address_of WHERE hash = :hash)
UNION SELECT r.person FROM quarantine q CROSS JOIN stream s ON s.kind = 'record'
  CROSS JOIN record r ON r.stream = s.id AND r.rid = q.key WHERE q.id = :id AND q.object = 'subscriber_key';

-- name: key_taken
SELECT c.name, q.remedy FROM record r CROSS JOIN quarantine q ON q.key = r.rid AND q.object = 'subscriber_key'
  AND q.closed_at IS NULL CROSS JOIN connection c ON c.id = q.connection WHERE r.person = ?;

-- name: close_quarantine
UPDATE quarantine SET closed_at = :now WHERE id = :id AND closed_at IS NULL;

-- name: try_now
UPDATE operation SET not_before = NULL WHERE connection = :connection AND key = :key AND state = 2;

-- name: plan_operations
SELECT c.name, b.name, o.kind, o.class, o.before IS NULL, iif(c.approved_at IS NULL, 1, o.state), o.person, o.key, o.columns,
  o.before, o.payload, o.permit, coalesce(d.master, 0) >= 3
FROM (SELECT id FROM operation WHERE state IN (0, 1) AND state = 1 UNION ALL SELECT id FROM queued) w
CROSS JOIN operation o ON o.id = w.id CROSS JOIN object b ON b.id = o.object CROSS JOIN connection c ON c.id = o.connection
LEFT JOIN decision d ON d.person = o.person
ORDER BY o.class > 0, o.id;

-- name: unfinished_first
-- Connections whose first approved plan is not wholly done, those without one included.
SELECT c.name FROM connection c WHERE c.approved_at IS NULL OR EXISTS (
  SELECT 1 FROM plan p WHERE p.approved_at = c.approved_at AND (
    EXISTS (SELECT 1 FROM queued o WHERE o.connection = c.id AND o.id <= p.last_operation)
    OR EXISTS (SELECT 1 FROM batch b CROSS JOIN operation o ON o.batch = b.id
               WHERE b.connection = c.id AND b.state <> 'closed' AND o.state = 3 AND o.id <= p.last_operation)
    OR EXISTS (SELECT 1 FROM parcel l WHERE l.connection = c.id AND l.batch IS NOT NULL AND l.first <= p.last_operation)
    OR EXISTS (SELECT 1 FROM operation o WHERE o.state IN (0, 1) AND o.connection = c.id AND o.id <= p.last_operation)));

-- name: overdue
-- Queued operations that nothing but time kept back: not deferred by the vendor, not waiting for another one.
SELECT count(*) FROM queued o WHERE o.connection = ? AND (o.not_before IS NULL OR o.not_before <= ?)
AND o.connection IN (SELECT id FROM connection WHERE approved_at IS NOT NULL);

-- name: flying
SELECT count(*) FROM batch WHERE connection = ? AND state <> 'closed';

-- name: connection_id
SELECT id FROM connection WHERE name = ?;

-- name: address
SELECT id, email, undeliverable FROM address WHERE id = (SELECT address FROM address_of WHERE hash = ?);

-- name: address_by_id
SELECT id, email, undeliverable FROM address WHERE id = ?;

-- name: people_at
-- Everyone who holds the address now, and everyone about whom something was said under it.
SELECT person FROM record WHERE address = :address
UNION SELECT r.person FROM entry e CROSS JOIN record r ON r.id = e.record WHERE e.address = :address ORDER BY 1;

-- name: holders
SELECT DISTINCT person FROM record WHERE address = ? AND deleted = 0 ORDER BY 1;

-- name: people_of_rid
SELECT DISTINCT r.person FROM stream s CROSS JOIN record r ON r.stream = s.id AND r.rid = :rid
WHERE s.kind = 'record' ORDER BY 1;

-- name: records_of
SELECT r.id, r.stream, c.name, s.object, r.rid, r.address, r.modified, r.deleted, r.merged_into, r.first_seen
FROM record r CROSS JOIN stream s ON s.id = r.stream CROSS JOIN connection c ON c.id = s.connection
WHERE r.person = ? ORDER BY r.id;

-- name: address_of
-- The address the person's decision is made for.
SELECT coalesce(
  (SELECT a.address FROM attr a WHERE a.person = :person),
  (SELECT r.address FROM record r WHERE r.person = :person AND r.address IS NOT NULL ORDER BY r.deleted, r.id LIMIT 1));

-- name: ambiguous
SELECT reason, since FROM ambiguous WHERE person = ?;

-- name: is_dirty
SELECT EXISTS (SELECT 1 FROM dirty WHERE person = :person)
  OR EXISTS (SELECT 1 FROM record r CROSS JOIN dirty_record t ON t.record = r.id WHERE r.person = :person);

-- name: keys_of
SELECT c.name, k.key, k.existing, k.until FROM connection c
CROSS JOIN subscriber_key k ON k.connection = c.id AND k.person = ? ORDER BY k.until;

-- name: operations_of
-- What is open, and the last write of each object, record and set of columns that came to an end; newest first.
SELECT o.id, c.name, b.name, o.kind, o.class, o.before IS NULL, CASE WHEN o.state IN (-1, 2) AND c.approved_at IS NULL THEN 1 WHEN o.state <> -1 THEN o.state
    WHEN EXISTS (SELECT 1 FROM parcel l WHERE o.id BETWEEN l.first AND l.last AND l.batch IS NULL) THEN 2 ELSE 3 END, o.key,
  o.columns, o.payload, o.before, o.permit, o.reason, o.closed_at, o.run,
  iif(o.state IN (-1, 2) AND c.approved_at IS NULL, (SELECT h.id FROM hold h WHERE h.connection = c.id AND h.class = 'first_plan'
    AND h.closed_at IS NULL), o.hold), o.object
FROM operation o CROSS JOIN object b ON b.id = o.object CROSS JOIN connection c ON c.id = o.connection
WHERE o.person = :person AND (o.state < 10 OR o.id IN (SELECT max(x.id) FROM operation x WHERE x.person = :person
  AND x.state IN (10, 11) GROUP BY x.object, x.record, x.columns)) ORDER BY o.id DESC;

-- name: read_to_end
-- When each of the streams with these ids was last read to its end.
SELECT c.name || '.' || s.object, s.complete_at FROM json_each(?) j CROSS JOIN stream s ON s.id = j.value
CROSS JOIN connection c ON c.id = s.connection;

-- name: statuses_of
SELECT c.name, s.container, s.key, s.status, s.at, s.origin FROM connection c
CROSS JOIN subscriber_key k ON k.connection = c.id AND k.person = :person
CROSS JOIN (SELECT connection, name FROM object WHERE kind = 'container' UNION SELECT id, '' FROM connection) b
  ON b.connection = c.id
CROSS JOIN remote_status s ON s.connection = c.id AND s.container = b.name AND s.key = k.key
UNION SELECT c.name, s.container, s.key, s.status, s.at, s.origin FROM remote_status s
CROSS JOIN connection c ON c.id = s.connection WHERE s.address = :address
ORDER BY 1, 2, 3;

-- name: words_at
-- Statements under an address that belong to no record.
SELECT e.position, 'address', e.address, u.channel, u.said, u.source, u.method, u.person_made, e.said_lo, e.said_hi,
  e.seen_at, e.knowledge, e.retracts, u.purpose, u.baseline, e.evidence, u.unit, NULL
FROM entry e CROSS JOIN utterance u ON u.id = e.utterance WHERE e.address = ? AND e.record IS NULL;

-- name: entry
SELECT e.position, e.record, e.address, e.key, e.retracts, u.channel, u.purpose, u.person_made, u.baseline, u.said, u.unit
FROM entry e LEFT JOIN utterance u ON u.id = e.utterance WHERE e.position = ?;

-- name: retraction_of
SELECT position FROM entry WHERE retracts = ? LIMIT 1;

-- name: record_of
-- The record of a person that an admin's word is about: the one named, else the leading one.
SELECT coalesce((SELECT r.id FROM record r WHERE r.person = :person AND r.rid = :rid ORDER BY r.deleted, r.id LIMIT 1),
  (SELECT a.record FROM attr a WHERE a.person = :person),
  (SELECT min(r.id) FROM record r WHERE r.person = :person));

-- name: forget_cursor
-- The stream is read from its beginning; what is known stays known, so nothing it says counts as a first link.
UPDATE stream SET cursor = NULL WHERE id = ?;

-- name: dirty_stream
INSERT OR IGNORE INTO dirty SELECT DISTINCT person FROM record
WHERE stream = :stream AND rid > :after AND rid <= :upto AND (:since IS NULL OR modified >= :since);

-- name: stream_range
-- How many of the next records of a stream there are, and the last of them.
SELECT count(*), coalesce(max(rid), :after)
FROM (SELECT rid FROM record WHERE stream = :stream AND rid > :after ORDER BY rid LIMIT :most);
