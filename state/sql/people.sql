-- name: take
-- live: records that can give facts; records: all of them; record: the only one of those, or of these; position: where there is
-- one record, that of the only thing said by it, 0 = nothing was said, NULL = more than one.
INSERT INTO chunk SELECT g.person, g.live, g.records, g.record, CASE g.records WHEN 1 THEN
  (SELECT CASE count(*) WHEN 0 THEN 0 WHEN 1 THEN min(e.position) END FROM entry e WHERE e.record = g.record) END
FROM (SELECT p.person, count(p.id) AS records, count(p.id) FILTER (WHERE p.deleted = 0 AND p.stream IN (:streams)) AS live,
  coalesce(min(p.id) FILTER (WHERE p.deleted = 0 AND p.stream IN (:streams)), min(p.id)) AS record
FROM (:records) p GROUP BY p.person) g;

-- name: next
SELECT count(*), coalesce(min(person), 0), coalesce(max(person), 0) FROM (SELECT person FROM dirty ORDER BY person LIMIT ?);

-- name: records_of_dirty
SELECT d.person, r.id, r.stream, r.deleted FROM dirty d LEFT JOIN record r ON r.person = d.person
WHERE d.person BETWEEN :first AND :last;

-- name: records_of_near
-- The same where most of a range are dirty: its records are read one after another, and nobody's are looked for.
SELECT r.person, r.id, r.stream, r.deleted FROM record r INDEXED BY record_person WHERE r.person BETWEEN :first AND :last
AND EXISTS (SELECT 1 FROM dirty d WHERE d.person = r.person);

-- name: records_of_these
SELECT j.value AS person, r.id, r.stream, r.deleted FROM json_each(:these) j LEFT JOIN record r ON r.person = j.value;

-- name: take_former
-- And who has no record any more.
INSERT OR IGNORE INTO chunk SELECT person, 0, 0, NULL, NULL FROM dirty WHERE person BETWEEN :first AND :last;

-- name: dear
-- The first person of the chunk beyond so many of whom more than one thing was said, or who have several records.
SELECT person FROM chunk WHERE position IS NULL ORDER BY person LIMIT 1 OFFSET ?;

-- name: more_was_said
UPDATE chunk SET position = NULL WHERE person = ?;

-- name: leave
-- Whoever comes after is left to the next transaction.
DELETE FROM chunk WHERE person >= ?;

-- name: nobody
-- Who has no records is left out, but for whoever became part of somebody else: something of theirs may stand there yet.
DELETE FROM chunk WHERE records = 0 AND NOT EXISTS (SELECT 1 FROM record r WHERE r.id = chunk.person);

-- name: no_attributes
DELETE FROM attr WHERE person IN (SELECT c.person FROM chunk c WHERE :gone) RETURNING person;

-- name: dirty_heirs
INSERT OR IGNORE INTO dirty SELECT r.person FROM connection n
CROSS JOIN subscriber_key k ON k.connection = n.id AND k.person = ?
CROSS JOIN remote_status m ON m.connection = n.id AND m.container = '' AND m.key = k.key
CROSS JOIN record r ON r.address = m.address WHERE r.person <> k.person;

-- name: in_flight
SELECT p.value FROM json_each(?) p WHERE EXISTS (SELECT 1 FROM in_flight f WHERE f.person = p.value);

-- name: due
SELECT due, person FROM attr WHERE due <= ? AND (due, person) > (?, ?) ORDER BY due, person LIMIT ?;

-- name: range
-- How many of the next people there are, and the last of them.
SELECT count(*), coalesce(max(person), :after)
FROM (SELECT DISTINCT person FROM record WHERE person > :after ORDER BY person LIMIT :most);

-- name: dirty_range
INSERT OR IGNORE INTO dirty SELECT DISTINCT person FROM record WHERE person > :after AND person <= :upto;

-- name: holders
-- Who holds an address (1), and who held it last and of whom every record is deleted (0).
SELECT r.person, max(r.deleted = 0) AS holds FROM record r WHERE r.address = ? GROUP BY r.person
HAVING holds OR NOT EXISTS (SELECT 1 FROM record o WHERE o.person = r.person AND o.deleted = 0);

-- name: joined
-- Whose record each of these entries is about, and the ledger's end when a merge made that part of its person.
SELECT e.position, r.id, r.joined FROM json_each(?) p CROSS JOIN entry e ON e.position = p.value
CROSS JOIN record r ON r.id = e.record;

-- name: single_baselines
-- One record, one entry, made at first sight, under the person's own present address, which is nobody else's and at which
-- nobody else spoke: the answer depends on nothing else.
INSERT INTO alone
SELECT c.person, e.position, r.address, e.utterance, e.said_lo IS NULL, e.address IS NULL
FROM chunk c CROSS JOIN record r ON r.id = c.record CROSS JOIN entry e ON e.position = c.position
CROSS JOIN utterance u ON u.id = e.utterance
WHERE c.position > 0 AND c.live = 1 AND u.baseline = 1 AND u.unit IS NULL AND e.address IS r.address AND e.retracts IS NULL
AND NOT EXISTS (SELECT 1 FROM entry o WHERE o.address = r.address AND o.position <> e.position)
AND NOT EXISTS (SELECT 1 FROM record o WHERE o.address = r.address AND o.id <> r.id);

-- name: spoken
-- Everybody else about whom something was said: by or about their records, at an address of theirs by anybody, or by whoever
-- has, or had, one of these.
INSERT INTO spoken SELECT c.person FROM chunk c WHERE NOT EXISTS (SELECT 1 FROM alone l WHERE l.person = c.person)
AND EXISTS (SELECT 1 FROM record r WHERE r.person = c.person AND (
  EXISTS (SELECT 1 FROM entry e WHERE e.record = r.id OR e.address = r.address)
  OR EXISTS (SELECT 1 FROM record o CROSS JOIN record n ON n.person = o.person CROSS JOIN entry e ON e.record = n.id
    WHERE o.address = r.address)));

-- name: shapes
-- One of each sort. Sorts are few: found without sorting the people.
SELECT s.utterance, s.always, s.nowhere, l.person, l.address FROM (SELECT DISTINCT utterance, always, nowhere FROM alone) s
CROSS JOIN alone l ON l.person = (SELECT person FROM alone f WHERE f.utterance = s.utterance AND f.always = s.always
  AND f.nowhere = s.nowhere LIMIT 1);

-- name: cases
SELECT s.person, (SELECT coalesce(a.address, (SELECT r.address FROM record r WHERE r.person = s.person
  AND r.address IS NOT NULL ORDER BY r.id LIMIT 1)) FROM (SELECT 1) LEFT JOIN attr a ON a.person = s.person)
FROM spoken s;

-- name: refusing
-- Who refused anything: few, and nobody else is to be looked at where an opt-out is carried on.
INSERT INTO refusing SELECT c.person FROM chunk c CROSS JOIN decision d ON d.person = c.person WHERE :refused;

-- name: keyless
-- Mostly nobody new has a key, or everybody.
INSERT INTO keyless SELECT c.person, a.record, a.address FROM chunk c CROSS JOIN attr a ON a.person = c.person
WHERE a.address IS NOT NULL AND NOT (
  EXISTS (SELECT 1 FROM subscriber_key WHERE connection = :connection
    AND person BETWEEN (SELECT min(person) FROM chunk) AND (SELECT max(person) FROM chunk))   -- asked once
  AND EXISTS (SELECT 1 FROM subscriber_key k WHERE k.connection = :connection AND k.person = c.person));

-- name: keys_found
DELETE FROM keyless WHERE EXISTS (SELECT 1 FROM subscriber_key k WHERE k.connection = :connection AND k.person = keyless.person);

-- name: keys_existing
-- A subscriber who is there already under another key keeps it: the one with the person's own id first, then any that
-- is not the id of somebody else's record.
INSERT OR IGNORE INTO subscriber_key (connection, person, key, existing, lent)
SELECT :connection, c.person, s.key, 1, nullif(iif(s.key = r.rid, r.id, (SELECT min(o.id) FROM stream t CROSS JOIN record o
  ON o.stream = t.id AND o.rid = s.key WHERE t.kind = 'record' AND o.person = c.person)), c.person)
FROM keyless c CROSS JOIN record r ON r.id = c.record
CROSS JOIN remote_status s INDEXED BY remote_status_address   -- or each person would look through all subscribers
  ON s.address = c.address AND s.connection = :connection AND s.container = ''
  AND s.status <> 'removed' AND s.key NOT GLOB 'address:*'
WHERE s.key = r.rid OR NOT EXISTS (SELECT 1 FROM stream t CROSS JOIN record o
  ON o.stream = t.id AND o.rid = s.key WHERE t.kind = 'record' AND o.person <> c.person)
ORDER BY c.person, s.key = r.rid DESC, s.status = 'subscribed' DESC, s.key;

-- name: keys_alike
-- A subscriber who is there already under the person's key, but for capital letters: most providers do not tell them apart.
INSERT OR IGNORE INTO subscriber_key (connection, person, key, existing)
SELECT :connection, c.person, s.key, 1 FROM keyless c CROSS JOIN remote_status s INDEXED BY remote_status_address
  ON s.address = c.address AND s.connection = :connection AND s.container = '' AND s.status <> 'removed'
CROSS JOIN record r ON r.id = c.record LEFT JOIN attr a ON a.person = c.person WHERE lower(s.key) = lower(:value) AND NOT EXISTS (SELECT 1 FROM remote_status t
  WHERE t.connection = :connection AND t.container = '' AND t.key = :value AND t.status <> 'removed');

-- name: keys_new
-- What is a record's id is lent by it: whoever was read first of a person's records gives the person its number.
INSERT OR IGNORE INTO subscriber_key (connection, person, key, lent)
SELECT :connection, c.person, :value, iif(:value = r.rid, nullif(r.id, c.person), NULL)   -- of the record or of the attributes, which then are not read
FROM keyless c CROSS JOIN record r ON r.id = c.record LEFT JOIN attr a ON a.person = c.person;

-- name: stay_dirty
INSERT OR IGNORE INTO dirty SELECT person FROM chunk;

-- name: is_ambiguous
SELECT 1 FROM ambiguous WHERE person = ?;

-- name: record_of_entries
-- What is written on a record. Words under a subscriber key came from the mailbox, whoever reads it: whether the key or the
-- address led to a record, and to which, depends on what was read first.
SELECT e.position, e.record FROM record r CROSS JOIN entry e ON e.record = r.id AND e.key IS NULL AND e.bound IS NULL
WHERE r.person = ?;

-- name: keys_taken
-- An address that is the key of whoever had it before. A key is for good: an opt-out is held under it, there and in the ledger.
INSERT INTO quarantine (connection, object, key, reason, remedy, opened_at)
SELECT :connection, 'subscriber_key', r.rid, 'key_taken',
  'the key this person would have is that of somebody who moved and keeps it; give the destination'
  || ' a key that never moves (subscriber_key: crm_id); `syncd keys migrate` moves the others to it', :now
FROM keyless c CROSS JOIN attr a ON a.person = c.person CROSS JOIN record r ON r.id = a.record
CROSS JOIN subscriber_key t ON t.connection = :connection AND t.key = :value WHERE true
ON CONFLICT (connection, object, key, reason) DO UPDATE SET closed_at = NULL;

-- name: any_taken
SELECT EXISTS (SELECT 1 FROM quarantine WHERE connection = :connection AND object = 'subscriber_key' AND closed_at IS NULL);

-- name: keys_free
UPDATE quarantine SET closed_at = :now WHERE connection = :connection AND object = 'subscriber_key' AND closed_at IS NULL
AND key IN (SELECT r.rid FROM chunk c CROSS JOIN record r ON r.person = c.person);

-- name: done
DELETE FROM dirty WHERE person IN (SELECT person FROM chunk);

-- name: put_off
INSERT OR IGNORE INTO put_off SELECT person FROM chunk;

-- name: call_back
INSERT OR IGNORE INTO dirty SELECT person FROM put_off ORDER BY person LIMIT ?;

-- name: called_back
DELETE FROM put_off WHERE person IN (SELECT person FROM put_off ORDER BY person LIMIT ?);
