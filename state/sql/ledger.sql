-- name: head
SELECT position, chain FROM ledger ORDER BY position DESC LIMIT 1;

-- name: chain
INSERT INTO ledger (position, commitment, chain) VALUES (?, ?, ?);

-- name: keep
INSERT INTO entry (position, salt, connection, source, record, address, key, method, person_made, said_lo, said_hi,
  baseline, said, evidence, knowledge, retracts, channel, purpose, basis, unit, seen_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: names
SELECT s.object, r.rid, lower(hex(a.hash)) FROM naming n
LEFT JOIN record r ON r.id = n.record LEFT JOIN stream s ON s.id = r.stream
LEFT JOIN address a ON a.id = n.address ORDER BY n.n;

-- name: verify
-- The record an entry is bound to may be found later (bind); what was committed is its name at the time: for entries that
-- arrived with a subscriber key that name is the key alone.
SELECT l.position, l.commitment, l.chain, e.salt, e.source,
  CASE WHEN e.key IS NULL THEN s.object END, CASE WHEN e.key IS NULL THEN r.rid END, lower(hex(a.hash)),
  e.key, e.method, e.person_made, e.said_lo, e.said_hi, e.baseline, e.said, e.evidence, e.knowledge, e.retracts,
  e.channel, e.purpose, e.basis, e.unit, e.seen_at
FROM ledger l LEFT JOIN entry e ON e.position = l.position
LEFT JOIN record r ON r.id = e.record LEFT JOIN stream s ON s.id = r.stream LEFT JOIN address a ON a.id = e.address
ORDER BY l.position;

-- name: bind
-- A keyed entry that arrived before the record it belongs to.
UPDATE entry SET record = (SELECT r.id FROM record r WHERE r.stream = :stream AND r.rid = entry.key)
WHERE record IS NULL AND key IS NOT NULL
AND EXISTS (SELECT 1 FROM record r WHERE r.stream = :stream AND r.rid = entry.key)
RETURNING record;

-- name: bind_by_key
UPDATE entry SET record = k.person FROM subscriber_key k
WHERE entry.record IS NULL AND entry.key IS NOT NULL AND k.connection = entry.connection AND k.key = entry.key
RETURNING entry.record;

-- name: unbound
SELECT 1 FROM entry WHERE record IS NULL AND key IS NOT NULL LIMIT 1;

-- name: of_person
SELECT e.position, 'keyed', e.address, e.channel, e.said, e.source, e.method, e.person_made, e.said_lo, e.said_hi,
  e.seen_at, e.knowledge, e.retracts, e.purpose, e.baseline, e.evidence, e.unit, r.person
FROM record r CROSS JOIN entry e ON e.record = r.id WHERE r.person = ?;

-- name: of_address
SELECT e.position, CASE WHEN e.record IS NULL THEN 'address' ELSE 'keyed' END, e.address, e.channel, e.said, e.source,
  e.method, e.person_made, e.said_lo, e.said_hi, e.seen_at, e.knowledge, e.retracts, e.purpose, e.baseline, e.evidence,
  e.unit, r.person
FROM entry e LEFT JOIN record r ON r.id = e.record WHERE e.address = ?;
