-- name: page_table
CREATE TEMP TABLE IF NOT EXISTS import_page (n INTEGER PRIMARY KEY, hash BLOB UNIQUE ON CONFLICT IGNORE,
  email TEXT, address INTEGER);

-- name: fill
INSERT INTO import_page (hash) VALUES (?);

-- name: counts
-- (addresses, those on the list already, those that somebody we know holds)
SELECT count(*), coalesce(sum(EXISTS (SELECT 1 FROM entry e WHERE e.address = p.address AND e.utterance IN (SELECT value FROM json_each(:same)))), 0),
  coalesce(sum(EXISTS (SELECT 1 FROM record r WHERE r.address = p.address AND r.deleted = 0)), 0)
FROM import_page p;

-- name: fresh
SELECT p.address, p.hash FROM import_page p
WHERE NOT EXISTS (SELECT 1 FROM entry e WHERE e.address = p.address AND e.utterance IN (SELECT value FROM json_each(:same))) ORDER BY p.n;

-- name: same_words
-- Whatever the purpose and the business unit of the topic were called.
SELECT id FROM utterance WHERE (connection, source, method, person_made, baseline, said, channel) IS (?, ?, ?, ?, ?, ?, ?);

-- name: is_address
SELECT 1 FROM address_of WHERE hash = ?;

-- name: known_digest
SELECT 1 FROM digest WHERE digest = :digest AND utterance IN (SELECT value FROM json_each(:same));

-- name: said_there
SELECT 1 FROM entry WHERE address = ? AND utterance = ? LIMIT 1;

-- name: add_digest
INSERT OR IGNORE INTO digest (digest, utterance, evidence, imported_at) VALUES (?, ?, ?, ?);

-- name: any_digest
SELECT EXISTS (SELECT 1 FROM digest), coalesce((SELECT value FROM meta WHERE name = 'digested_to'), 0),
  (SELECT coalesce(max(id), 0) FROM address);

-- name: undigested
SELECT id, hash, email FROM address WHERE id > ? AND email IS NOT NULL ORDER BY id LIMIT ?;

-- name: digests
SELECT utterance, evidence, imported_at, digest FROM digest ORDER BY utterance, evidence, imported_at;

-- name: digests_of
SELECT utterance, evidence, imported_at FROM digest WHERE digest = ?;

-- name: digested_to
INSERT OR REPLACE INTO meta VALUES ('digested_to', ?);

-- name: utterance
SELECT connection, source, method, person_made, baseline, said, channel, purpose, basis, unit FROM utterance WHERE id = ?;

-- name: refused_addresses
-- Addresses at which, or by whose holder, anything was ever said against mail.
SELECT a.id, a.hash, a.email FROM address a WHERE a.id > :after AND (
  EXISTS (SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
          WHERE e.address = a.id AND instr(u.said, '"opt_out"'))
  OR EXISTS (SELECT 1 FROM record r CROSS JOIN record o ON o.person = r.person CROSS JOIN entry e ON e.record = o.id
             CROSS JOIN utterance u ON u.id = e.utterance
             WHERE r.address = a.id AND r.deleted = 0 AND instr(u.said, '"opt_out"')))
ORDER BY a.id LIMIT :limit;

-- name: entries
SELECT e.position, CASE WHEN e.record IS NULL THEN 'address' ELSE 'keyed' END, e.address, u.channel, u.said, u.source,
  u.method, u.person_made, e.said_lo, e.said_hi, e.seen_at, e.knowledge, e.retracts, u.purpose, u.baseline, e.evidence,
  u.unit, r.person
FROM entry e CROSS JOIN utterance u ON u.id = e.utterance LEFT JOIN record r ON r.id = e.record
WHERE e.position > :after ORDER BY e.position LIMIT :limit;

-- name: hashes
SELECT id, hash, email FROM address WHERE id IN (SELECT value FROM json_each(?));

-- name: requests
SELECT q.record, r.person, c.name, s.object, r.rid, q.field, q.asked_at, q.reasserted FROM request q
CROSS JOIN record r ON r.id = q.record CROSS JOIN stream s ON s.id = r.stream CROSS JOIN connection c ON c.id = s.connection
WHERE r.deleted = 0 ORDER BY q.asked_at, q.record, q.field;
