-- name: head
SELECT position, value FROM chain ORDER BY position DESC LIMIT 1;

-- name: chain
INSERT INTO chain (position, value) VALUES (?, ?);

-- name: keep
INSERT INTO entry (position, commitment, salt, utterance, record, address, said_hi, key, said_lo, knowledge, retracts,
  evidence, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: keep_alike
-- Commitments and salts come end to end: a value of each row that is not bound costs nothing.
INSERT INTO entry (position, commitment, salt, record, address, utterance, said_hi, seen_at)
SELECT :first + key, substr(:commitments, 32 * key + 1, 32), substr(:salts, 16 * key + 1, 16), value->>0, value->>1,
  :utterance, :said_hi, :now FROM json_each(:whose);

-- name: keep_in_step
-- The same where each address has its record's number, as new ones do: numbers alone are read in half the time of pairs.
INSERT INTO entry (position, commitment, salt, record, address, utterance, said_hi, seen_at)
SELECT :first + key, substr(:commitments, 32 * key + 1, 32), substr(:salts, 16 * key + 1, 16), value, value,
  :utterance, :said_hi, :now FROM json_each(:records);

-- name: find_utterance
SELECT id FROM utterance WHERE (connection, source, method, person_made, baseline, said, channel, purpose, basis, unit)
  IS (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_utterance
INSERT INTO utterance (connection, source, method, person_made, baseline, said, channel, purpose, basis, unit)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id;

-- name: refusals
-- What was ever said against mail, in different words.
SELECT id, said FROM utterance WHERE instr(said, '"opt_out"');

-- name: count_of
SELECT count(*) FROM entry WHERE utterance IN (SELECT value FROM json_each(?));

-- name: said_before
-- The journal does not keep a key that is an address.
SELECT 1 FROM entry e WHERE e.address = :address AND (e.key IS :key OR (e.key IS NULL AND instr(:key, '@'))) AND e.said_lo = :at AND e.said_hi = :at
AND e.evidence IS :evidence AND e.utterance = :utterance;

-- name: rid
SELECT rid FROM record WHERE id = ?;

-- name: hash
SELECT hash FROM address WHERE id = ?;

-- name: links
SELECT position, value FROM chain ORDER BY position;

-- name: verify
SELECT e.position, e.commitment, e.salt, CASE WHEN e.key IS NULL AND e.bound IS NULL THEN r.rid END,
  CASE WHEN a.hash IS NOT NULL AND e.bound IS NOT 2 THEN lower(hex(a.hash)) END,
  CASE WHEN instr(e.key, '@') = 0 THEN e.key END, e.said_lo, e.said_hi, e.evidence, e.knowledge, e.retracts, e.seen_at,
  u.source, u.method, u.person_made, u.baseline, u.said, u.channel, u.purpose, u.basis, u.unit
FROM entry e LEFT JOIN record r ON r.id = e.record LEFT JOIN address a ON a.id = e.address
LEFT JOIN utterance u ON u.id = e.utterance WHERE e.position > :after ORDER BY e.position;

-- name: bind
-- A keyed entry that arrived before the record it belongs to. What a stream said is about a record of that stream; a key that a
-- provider, or an admin, named may be the id of several people's, and is then that of who has the address.
UPDATE entry SET record = (SELECT r.id FROM record r WHERE r.stream = :stream AND r.rid = entry.key)
WHERE record IS NULL AND key IS NOT NULL AND key > :after AND key <= :upto
AND EXISTS (SELECT 1 FROM record r CROSS JOIN utterance u ON u.id = entry.utterance
  WHERE r.stream = :stream AND r.rid = entry.key AND (u.source = :source OR (instr(u.source, '.') = 0
    AND (r.address = entry.address OR NOT EXISTS (SELECT 1 FROM json_each(:streams) s
      CROSS JOIN record o ON o.stream = s.value AND o.rid = entry.key WHERE s.value <> :stream)))))
RETURNING record;

-- name: bind_by_key
UPDATE entry SET record = k.person FROM subscriber_key k, utterance u
WHERE entry.record IS NULL AND entry.key IS NOT NULL AND entry.key > :after AND entry.key <= :upto
AND u.id = entry.utterance AND k.connection = u.connection AND k.key = entry.key RETURNING entry.record;

-- name: few_unbound
-- How many keyed statements have no record, compared with the people of the chunk.
SELECT count(*), count(*) < (SELECT count(*) FROM chunk) FROM (SELECT 1 FROM entry INDEXED BY entry_unbound
  WHERE record IS NULL AND key > '' LIMIT (SELECT count(*) FROM chunk));

-- name: bind_of_chunk
-- What was said under the key of somebody in the chunk before the key was known to be theirs.
UPDATE entry SET record = (SELECT k.person FROM subscriber_key k WHERE k.connection = :connection AND k.key = entry.key)
WHERE position IN (:found) RETURNING record;

-- name: unbound_of_people
SELECT e.position FROM chunk c CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person
CROSS JOIN entry e INDEXED BY entry_unbound ON e.key = k.key AND e.record IS NULL AND e.key IS NOT NULL
CROSS JOIN utterance u ON u.id = e.utterance AND u.connection = :connection

-- name: people_of_unbound
-- The same.
SELECT e.position FROM entry e INDEXED BY entry_unbound
CROSS JOIN utterance u ON u.id = e.utterance AND u.connection = :connection
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.key = e.key CROSS JOIN chunk c ON c.person = k.person
WHERE e.record IS NULL AND e.key > ''

-- name: find_addresses
-- A list member's entry can come before the subscriber whose address it is. 2 = so the address is not in the commitment.
UPDATE entry SET address = f.address, bound = 2
FROM (SELECT e.position, s.address FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
      CROSS JOIN remote_status s ON s.connection = u.connection AND s.container = '' AND s.key = e.key
        AND s.address IS NOT NULL
      WHERE e.record IS NULL AND e.key IS NOT NULL AND e.key > :after AND e.key <= :upto AND e.address IS NULL) f
WHERE entry.position = f.position RETURNING entry.address;

-- name: bind_by_address
-- What was said under an address alone binds the person too, where exactly one held it then. Who is forgotten is nobody.
UPDATE entry SET record = h.record, bound = coalesce(bound, 1)
FROM (SELECT e.position, min(r.person) AS record FROM entry e CROSS JOIN record r ON r.address = e.address AND r.deleted = 0
      WHERE e.position > :after AND e.position <= :upto AND e.record IS NULL
      AND e.utterance NOT IN (SELECT id FROM utterance WHERE source = 'forget') GROUP BY e.position HAVING count(DISTINCT r.person) = 1) h
WHERE entry.position = h.position;

-- name: bind_by_departed
-- Where nobody has the address any more, a refusal binds whoever had it when it was said, or may have, if that is one person.
UPDATE entry SET record = h.record, bound = coalesce(bound, 1)
FROM (SELECT e.position, min(r.person) AS record FROM entry e CROSS JOIN departed d ON d.address = e.address AND d.own
        AND coalesce(e.said_lo, e.said_hi) <= d.until + :tolerance
      CROSS JOIN record r ON r.id = d.record AND r.forgotten IS NULL
      CROSS JOIN utterance u ON u.id = e.utterance AND u.source <> 'forget' AND instr(u.said, '"opt_out"') > 0
      WHERE e.position > :after AND e.position <= :upto AND e.record IS NULL
      AND NOT EXISTS (SELECT 1 FROM record o WHERE o.address = e.address AND o.deleted = 0)
      GROUP BY e.position HAVING count(DISTINCT r.person) = 1) h
WHERE entry.position = h.position RETURNING entry.record;

-- name: wake_departed
-- Something was refused under an address: rows of whoever left it lately may still be there.
INSERT OR IGNORE INTO dirty SELECT r.person FROM (SELECT 1 FROM departed LIMIT 1) CROSS JOIN entry e
CROSS JOIN utterance u ON u.id = e.utterance AND instr(u.said, '"opt_out"') > 0
CROSS JOIN departed d ON d.address = e.address CROSS JOIN record r ON r.id = d.record
WHERE e.position > :after AND e.position <= :upto;

-- name: long_departed
-- Not while something of theirs waits: it may be the row that still stands at the address.
DELETE FROM departed WHERE until < ? AND NOT EXISTS (SELECT 1 FROM record r CROSS JOIN operation o ON o.person = r.person
  WHERE r.id = departed.record AND o.state IN (0, 1, 2));

-- name: unbound
-- Whether a keyed statement after a key has no record.
SELECT EXISTS (SELECT 1 FROM entry WHERE record IS NULL AND key IS NOT NULL AND key > ?);

-- name: unbound_upto
-- The key that so many of them come before; none where there are not so many.
SELECT key FROM entry WHERE record IS NULL AND key IS NOT NULL AND key > :after ORDER BY key LIMIT 1 OFFSET :most;

-- name: calm
-- Nothing is new: then no record and no key is either.
SELECT NOT EXISTS (SELECT 1 FROM dirty) AND NOT EXISTS (SELECT 1 FROM dirty_record);

-- name: of_person
SELECT e.position, 'keyed', e.address, u.channel, u.said, u.source, u.method, u.person_made, e.said_lo, e.said_hi,
  e.seen_at, e.knowledge, e.retracts, u.purpose, u.baseline, e.evidence, u.unit, r.person
FROM record r CROSS JOIN entry e ON e.record = r.id CROSS JOIN utterance u ON u.id = e.utterance WHERE r.person = ?;

-- name: of_address
SELECT e.position, CASE WHEN e.record IS NULL THEN 'address' ELSE 'keyed' END, e.address, u.channel, u.said, u.source,
  u.method, u.person_made, e.said_lo, e.said_hi, e.seen_at, e.knowledge, e.retracts, u.purpose, u.baseline, e.evidence,
  u.unit, r.person
FROM entry e CROSS JOIN utterance u ON u.id = e.utterance LEFT JOIN record r ON r.id = e.record WHERE e.address = ?;

-- name: acknowledged
-- The newest position whose opt-out a connection had confirmed for a person at an instant.
SELECT max(o.permit) FROM record r CROSS JOIN operation o ON o.person = r.person
WHERE r.id = :record AND o.connection = :connection AND o.class = 0 AND o.state = 10 AND o.closed_at < :elsewhere;

-- name: opt_outs
-- What was said against mail about a record's person or an address, oldest position first, and whether it was surely said at
-- this connection before. An instant that is no interval was told by the connection.
SELECT e.position, u.connection IS :connection
  AND e.said_hi < CASE WHEN e.said_lo = e.said_hi THEN :here ELSE :elsewhere END FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
WHERE e.position IN (SELECT f.position FROM record r CROSS JOIN record o ON o.person = r.person
                     CROSS JOIN entry f ON f.record = o.id WHERE r.id = :record
                     UNION SELECT f.position FROM entry f WHERE f.address = :address)
AND u.said LIKE '%"opt_out"%' ORDER BY e.position;
