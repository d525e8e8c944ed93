-- A person as all tables know her: gone_record, gone_address, gone_person, gone_key, filled by state/forget.py.

-- name: gone_tables
CREATE TEMP TABLE IF NOT EXISTS gone_record (id INTEGER PRIMARY KEY, stream INTEGER, rid TEXT);
CREATE TEMP TABLE IF NOT EXISTS gone_address (id INTEGER PRIMARY KEY, hash BLOB, email TEXT);
CREATE TEMP TABLE IF NOT EXISTS gone_person (id INTEGER PRIMARY KEY);
CREATE TEMP TABLE IF NOT EXISTS gone_key (connection INTEGER, key TEXT, PRIMARY KEY (connection, key)) WITHOUT ROWID;
DELETE FROM gone_record; DELETE FROM gone_address; DELETE FROM gone_person; DELETE FROM gone_key

-- name: records_of
INSERT OR IGNORE INTO gone_record SELECT r.id, r.stream, r.rid FROM json_each(?) j CROSS JOIN record r ON r.person = j.value;

-- name: records_named
INSERT OR IGNORE INTO gone_record SELECT r.id, r.stream, r.rid FROM json_each(?) j
CROSS JOIN record r ON r.stream = j.value->>0 AND r.rid = j.value->>1;

-- name: records_at
-- Everyone who holds one of the addresses, with all their records.
INSERT OR IGNORE INTO gone_record SELECT o.id, o.stream, o.rid FROM gone_address a CROSS JOIN record r ON r.address = a.id
CROSS JOIN record o ON o.person = r.person;

-- name: people
INSERT OR IGNORE INTO gone_person SELECT id FROM gone_record
UNION SELECT r.person FROM gone_record g CROSS JOIN record r ON r.id = g.id;

-- name: addresses_named
INSERT OR IGNORE INTO gone_address SELECT id, hash, email FROM address
WHERE id = (SELECT address FROM address_of WHERE hash = ?);

-- name: addresses_of
-- Every address the person has, or had when something was said or written.
INSERT OR IGNORE INTO gone_address SELECT a.id, a.hash, a.email FROM (
  SELECT r.address FROM gone_record g CROSS JOIN record r ON r.id = g.id
  UNION SELECT e.address FROM gone_record g CROSS JOIN entry e ON e.record = g.id
  UNION SELECT o.address FROM gone_person p CROSS JOIN operation o ON o.person = p.id
  UNION SELECT s.address FROM gone_person p CROSS JOIN subscriber_key k ON k.person = p.id
    CROSS JOIN remote_status s ON s.connection = k.connection AND s.container = '' AND s.key = k.key
) x CROSS JOIN address a ON a.id = x.address;

-- name: shared_addresses
-- Addresses that these people have or had, and that somebody else holds; whether one of their records has it.
SELECT a.id, a.hash, EXISTS (SELECT 1 FROM record h WHERE h.address = a.id AND h.person IN (SELECT value FROM json_each(:people)))
FROM (SELECT r.address FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value
  UNION SELECT e.address FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value CROSS JOIN entry e ON e.record = r.id
) x CROSS JOIN address a ON a.id = x.address
WHERE EXISTS (SELECT 1 FROM record o WHERE o.address = a.id AND o.deleted = 0 AND o.person NOT IN (SELECT value FROM json_each(:people)));

-- name: spare_shared
-- An address that somebody else holds stays that one's.
DELETE FROM gone_address WHERE id IN (SELECT r.address FROM gone_address a CROSS JOIN record r ON r.address = a.id
  WHERE r.deleted = 0 AND r.id NOT IN (SELECT id FROM gone_record));

-- name: keys
INSERT OR IGNORE INTO gone_key SELECT k.connection, k.key FROM gone_person p CROSS JOIN connection c
  CROSS JOIN subscriber_key k ON k.connection = c.id AND k.person = p.id
UNION SELECT s.connection, s.key FROM gone_address a CROSS JOIN remote_status s ON s.address = a.id
UNION SELECT o.connection, o.key FROM gone_person p CROSS JOIN operation o ON o.person = p.id AND o.kind IN ('upsert', 'remove', 'status')
UNION SELECT b.connection, f.key FROM gone_address a CROSS JOIN foreign_row f ON f.address = a.id CROSS JOIN object b ON b.id = f.object;

-- name: keys_under_way
INSERT OR IGNORE INTO gone_key SELECT connection, key FROM erasure_key WHERE erasure = ?;

-- name: spare_keys
-- A key that is somebody else's by now.
DELETE FROM gone_key WHERE (connection, key) IN (SELECT k.connection, k.key FROM gone_key g CROSS JOIN subscriber_key k
  ON k.connection = g.connection AND k.key = g.key WHERE k.person NOT IN (SELECT id FROM gone_person));

-- name: keys_named
SELECT c.name, g.key FROM gone_key g CROSS JOIN connection c ON c.id = g.connection;

-- name: sources
SELECT s.id, c.name || '.' || s.object, c.name FROM stream s CROSS JOIN connection c ON c.id = s.connection;

-- name: undelivered
SELECT i.id, c.name, i.notices FROM inbox i CROSS JOIN connection c ON c.id = i.connection WHERE i.notices IS NOT NULL;

-- name: digest
-- What a list of digests told about her address is a statement by now; anybody could guess the address from the digest.
DELETE FROM digest WHERE digest = ?;

-- name: open
SELECT id FROM erasure WHERE hash = ? AND done_at IS NULL;

-- name: begin
INSERT INTO erasure (asked_at, hash, head, hashes, records)
SELECT :now, :hash, (SELECT coalesce(max(position), 0) FROM entry), (SELECT json_group_array(hex(hash)) FROM gone_address),
  (SELECT json_group_array(json_array(stream, rid)) FROM gone_record) RETURNING id;

-- name: begin_keys
INSERT INTO erasure_key (erasure, connection, key) SELECT :erasure, g.connection, g.key FROM gone_key g
CROSS JOIN connection c ON c.id = g.connection AND c.role = 'esp' WHERE g.key NOT LIKE 'forgotten:%'
AND g.key NOT LIKE 'address:%';

-- name: begin_records
-- What is to become of the records of a CRM. Asked for again, what was refused is tried again.
INSERT OR REPLACE INTO erasure_key (erasure, connection, key)
SELECT :erasure, s.connection, :how || ' ' || s.object || ' ' || g.rid FROM gone_record g
CROSS JOIN record r ON r.id = g.id AND r.deleted = 0 CROSS JOIN stream s ON s.id = g.stream WHERE s.connection = :connection;

-- name: emails
SELECT email FROM gone_address WHERE email IS NOT NULL;

-- name: left_alone
-- Records that a CRM still has.
SELECT c.name, s.object, g.rid FROM gone_record g CROSS JOIN record r ON r.id = g.id AND r.deleted = 0
CROSS JOIN stream s ON s.id = g.stream CROSS JOIN connection c ON c.id = s.connection ORDER BY 1, 2, 3;

-- name: records_held
SELECT c.name, s.object, r.rid FROM json_each(?) j CROSS JOIN record r ON r.person = j.value AND r.deleted = 0
CROSS JOIN stream s ON s.id = r.stream CROSS JOIN connection c ON c.id = s.connection ORDER BY 1, 2, 3;

-- name: mark_addresses
-- Also where it was forgotten before: nothing that was said until now brings anybody back.
UPDATE address SET forgotten = :now WHERE id IN (SELECT id FROM gone_address);

-- name: mark_records
UPDATE record SET forgotten = coalesce(forgotten, :now) WHERE id IN (SELECT id FROM gone_record);

-- name: mark_records_at
UPDATE record SET forgotten = coalesce(forgotten, :now) WHERE address IN (SELECT id FROM gone_address);

-- name: drop_wishes
DELETE FROM operation WHERE state < 3 AND person IN (SELECT id FROM gone_person)
AND NOT EXISTS (SELECT 1 FROM in_flight f WHERE f.id = operation.id);

-- name: in_flight
SELECT count(*) FROM gone_person p CROSS JOIN in_flight o ON o.person = p.id
WHERE :connection IS NULL OR o.connection = :connection;

-- name: entries
UPDATE entry SET salt = NULL, utterance = NULL, record = NULL, address = NULL, key = NULL, bound = NULL, said_lo = NULL,
  said_hi = NULL, seen_at = NULL, knowledge = NULL, retracts = NULL, evidence = NULL
WHERE position IN (
  SELECT e.position FROM gone_record g CROSS JOIN entry e ON e.record = g.id
  UNION SELECT e.position FROM gone_address a CROSS JOIN entry e ON e.address = a.id AND e.record IS NULL
  UNION SELECT e.position FROM gone_key k CROSS JOIN entry e ON e.key = k.key AND e.record IS NULL
    CROSS JOIN utterance u ON u.id = e.utterance AND u.connection = k.connection)
AND utterance NOT IN (SELECT id FROM utterance WHERE source = 'forget')
AND position <= :until
RETURNING position;

-- name: operations
DELETE FROM operation WHERE NOT EXISTS (SELECT 1 FROM in_flight f WHERE f.id = operation.id) AND id IN (SELECT o.id FROM gone_person p CROSS JOIN operation o ON o.person = p.id
  UNION ALL SELECT o.id FROM operation o WHERE o.person = 0 AND (o.address IN (SELECT id FROM gone_address)
    OR (o.connection, o.key) IN (SELECT connection, key FROM gone_key)));

-- name: quarantine
DELETE FROM quarantine WHERE (connection, key) IN (SELECT connection, key FROM gone_key)
OR key IN (SELECT email FROM gone_address) OR key IN (SELECT 'forgotten:' || lower(hex(hash)) FROM gone_address)
OR (connection, object, key) IN (SELECT s.connection, s.object, g.rid FROM gone_record g CROSS JOIN stream s ON s.id = g.stream);

-- name: statuses
DELETE FROM remote_status WHERE id IN (SELECT s.id FROM gone_address a CROSS JOIN remote_status s ON s.address = a.id
  UNION SELECT s.id FROM remote_status s WHERE (s.connection, s.key) IN (SELECT connection, key FROM gone_key));

-- name: foreign_rows
DELETE FROM foreign_row WHERE id IN (SELECT f.id FROM gone_address a CROSS JOIN foreign_row f ON f.address = a.id
  UNION SELECT f.id FROM gone_key g CROSS JOIN object b ON b.connection = g.connection
    CROSS JOIN foreign_row f ON f.object = b.id AND f.key = g.key);

-- name: subscriber_keys
DELETE FROM subscriber_key WHERE person IN (SELECT id FROM gone_person);

-- name: events
-- An event's id is the provider's, and may be made of the subscriber's key or address.
DELETE FROM event_seen WHERE (connection, event) IN (SELECT e.connection, e.event FROM event_seen e
  CROSS JOIN (SELECT connection, lower(key) AS part FROM gone_key WHERE length(key) > 5
    UNION SELECT c.id, a.email FROM connection c CROSS JOIN gone_address a WHERE a.email IS NOT NULL) w
  WHERE w.connection = e.connection AND instr(lower(e.event), w.part));

-- name: requests
DELETE FROM request WHERE record IN (SELECT id FROM gone_record);

-- name: echoes
DELETE FROM echo WHERE record IN (SELECT id FROM gone_record);

-- name: rereads
DELETE FROM reread WHERE record IN (SELECT id FROM gone_record);

-- name: departed
DELETE FROM departed WHERE record IN (SELECT id FROM gone_record) OR address IN (SELECT id FROM gone_address);

-- name: vanished
DELETE FROM vanished WHERE person IN (SELECT id FROM gone_person);

-- name: attributes
DELETE FROM attr WHERE person IN (SELECT id FROM gone_person);

-- name: decisions
DELETE FROM decision WHERE person IN (SELECT id FROM gone_person);

-- name: ambiguous
DELETE FROM ambiguous WHERE person IN (SELECT id FROM gone_person);

-- name: records
-- A stub holds no address that is somebody else's: she would be mailed there.
UPDATE record SET modified = NULL,
  address = CASE WHEN address IN (SELECT id FROM gone_address) THEN address END
WHERE id IN (SELECT id FROM gone_record);

-- name: bury
-- What the CRM has deleted does not come again, and needs no stub.
DELETE FROM record WHERE deleted = 1 AND id IN (SELECT id FROM gone_record);

-- name: addresses
UPDATE address SET email = NULL, undeliverable = NULL, forgotten = coalesce(forgotten, :now)
WHERE id IN (SELECT id FROM gone_address);

-- name: again
INSERT OR IGNORE INTO dirty SELECT r.person FROM gone_record g CROSS JOIN record r ON r.id = g.id;

-- name: settle
DELETE FROM dirty WHERE person IN (SELECT id FROM gone_person) AND person NOT IN (SELECT person FROM record);

-- name: unfinished
SELECT id, asked_at, hash, head, hashes, records, receipt, done_at FROM erasure WHERE done_at IS NULL ORDER BY id;

-- name: is_any
SELECT EXISTS (SELECT 1 FROM erasure WHERE done_at IS NULL);

-- name: erasure
SELECT id, asked_at, hash, head, hashes, records, receipt, done_at FROM erasure WHERE id = ?;

-- name: keys_at
SELECT key, request_id, error FROM erasure_key WHERE erasure = ? AND connection = ? ORDER BY key;

-- name: keys_left
SELECT c.name, k.request_id IS NOT NULL, k.error, count(*) FROM erasure_key k CROSS JOIN connection c ON c.id = k.connection
WHERE k.erasure = ? GROUP BY 1, 2, 3;

-- name: key_asked
UPDATE OR REPLACE erasure_key SET key = :name, request_id = :request, error = :error
WHERE erasure = :erasure AND connection = :connection AND key = :key;

-- name: key_done
DELETE FROM erasure_key WHERE erasure = :erasure AND connection = :connection AND key = :key;

-- name: receipt
UPDATE erasure SET receipt = :receipt WHERE id = :erasure;

-- name: done
UPDATE erasure SET done_at = :now, hashes = NULL, records = NULL WHERE id = :erasure;

-- name: drop_keys
DELETE FROM erasure_key WHERE erasure = :erasure;

-- name: known_hashes
SELECT hash FROM address WHERE forgotten IS NOT NULL;

-- name: known_records
SELECT stream, rid FROM record WHERE forgotten IS NOT NULL;

-- name: spoken_again
-- Forgotten addresses whose person said, or an admin recorded, after that that mail is wanted; and who that is, if anybody.
SELECT DISTINCT a.id, r.person FROM address a
CROSS JOIN (SELECT e.address AS address, max(e.position) AS position FROM address f CROSS JOIN entry e ON e.address = f.id
  CROSS JOIN utterance u ON u.id = e.utterance AND u.source = 'forget' WHERE f.forgotten IS NOT NULL GROUP BY e.address) b
  ON b.address = a.id
CROSS JOIN entry e ON e.address = a.id AND e.position > b.position CROSS JOIN utterance u ON u.id = e.utterance
LEFT JOIN record r ON r.id = e.record
WHERE a.forgotten IS NOT NULL AND u.person_made AND e.retracts IS NULL AND instr(u.said, '"opt_in"')
AND (e.said_lo > a.forgotten + :tolerance OR e.knowledge >= b.position);

-- name: records_again
-- All that is known of them so far is what a stub keeps.
SELECT o.stream, o.rid FROM (SELECT DISTINCT person FROM record WHERE address = :address) w
CROSS JOIN record o ON o.person = w.person AND o.deleted = 0
WHERE :people IS NULL OR w.person IN (SELECT value FROM json_each(:people));

-- name: lift_records
UPDATE record SET forgotten = NULL WHERE person IN (SELECT person FROM record WHERE address = :address)
AND (:people IS NULL OR person IN (SELECT value FROM json_each(:people)));

-- name: lift_address
UPDATE address SET forgotten = NULL WHERE id = ?;
