-- name: page_table
CREATE TEMP TABLE IF NOT EXISTS row_page (n INTEGER PRIMARY KEY, key TEXT UNIQUE ON CONFLICT REPLACE, email TEXT, hash BLOB,
  address INTEGER);

-- name: fill
INSERT INTO row_page (key, email, hash) VALUES (?, ?, ?);

-- name: listed
INSERT OR IGNORE INTO listed SELECT :object, t.person FROM row_page p
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.key = p.key
CROSS JOIN :target t ON t.person = k.person AND t.key = p.key;

-- name: readdressed
-- Rows of ours that somebody gave another address: they stand at that one. What was acknowledged since may be older than it looks.
UPDATE :target AS t SET address = (SELECT p.address FROM row_page p WHERE p.key = t.key)
WHERE t.person IN (SELECT w.person FROM row_page p CROSS JOIN subscriber_key k ON k.connection = :connection AND k.key = p.key
  CROSS JOIN :target w ON w.person = k.person AND w.key = p.key
  WHERE p.address IS NOT NULL AND w.address IS NOT p.address
  AND EXISTS (SELECT 1 FROM operation o WHERE o.id = w.operation AND o.closed_at < :began)
  AND NOT EXISTS (SELECT 1 FROM in_flight f WHERE f.object = :object AND f.person = w.person)) RETURNING person;

-- name: foreign
-- Not ours: no target row under this key, and nothing of ours under way for it.
INSERT INTO foreign_row (object, key, address, sweep)
SELECT :object, p.key, p.address, :sweep FROM row_page p
LEFT JOIN subscriber_key k ON k.connection = :connection AND k.key = p.key
WHERE NOT EXISTS (SELECT 1 FROM :target t WHERE t.person = k.person AND t.key = p.key)
AND NOT EXISTS (SELECT 1 FROM in_flight o WHERE o.object = :object AND o.person = k.person AND o.key = p.key)
ON CONFLICT (object, key) DO UPDATE SET address = excluded.address, sweep = excluded.sweep;

-- name: dirty_foreign
INSERT OR IGNORE INTO dirty SELECT r.person FROM row_page p CROSS JOIN foreign_row f ON f.object = :object AND f.key = p.key
CROSS JOIN record r ON r.address = p.address WHERE p.address IS NOT NULL
UNION SELECT r.person FROM row_page p CROSS JOIN foreign_row f ON f.object = :object AND f.key = p.key
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.key = p.key CROSS JOIN record r ON r.id = k.person
UNION SELECT r.person FROM row_page p CROSS JOIN foreign_row f ON f.object = :object AND f.key = p.key
CROSS JOIN stream s ON s.kind = 'record' CROSS JOIN record r ON r.stream = s.id AND r.rid = p.key;

-- name: judge_page
-- Of the page's foreign rows those at addresses that no living record has, and under which anything was ever said. Who was
-- forgotten has no say: what the address itself says counts.
INSERT OR IGNORE INTO judging SELECT f.id FROM row_page p CROSS JOIN foreign_row f ON f.object = :object AND f.key = p.key
WHERE p.address IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM record r WHERE r.address = p.address AND r.deleted = 0 AND r.forgotten IS NULL)
AND EXISTS (SELECT 1 FROM entry e WHERE e.address = p.address);

-- name: judge_at
-- Something was said under an address.
INSERT OR IGNORE INTO judging SELECT id FROM foreign_row WHERE address = ?;

-- name: judge_left
-- Addresses under which the dirty people said something and that they have no more, and those of records that do not live.
INSERT OR IGNORE INTO judging SELECT f.id FROM (SELECT 1 FROM foreign_row LIMIT 1)   -- mostly there is none
CROSS JOIN dirty d CROSS JOIN record r ON r.person = d.person
CROSS JOIN entry e ON e.record = r.id AND (e.address IS NOT r.address OR r.deleted) CROSS JOIN foreign_row f ON f.address = e.address
WHERE d.person > :after AND d.person <= :upto
UNION SELECT f.id FROM (SELECT 1 FROM foreign_row LIMIT 1) CROSS JOIN dirty d
CROSS JOIN record r ON r.person = d.person AND (r.deleted OR r.forgotten IS NOT NULL) CROSS JOIN foreign_row f ON f.address = r.address
WHERE d.person > :after AND d.person <= :upto;

-- name: judging
SELECT j.row, f.address, f.object FROM judging j LEFT JOIN foreign_row f ON f.id = j.row
  AND NOT EXISTS (SELECT 1 FROM record r WHERE r.address = f.address AND r.deleted = 0 AND r.forgotten IS NULL)
ORDER BY j.row LIMIT ?;

-- name: judged
DELETE FROM judging WHERE row = ?;

-- name: remove_unheld
INSERT OR IGNORE INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, permit,
  state, run)
SELECT b.connection, f.object, 'remove', 0, 0, f.id, f.key, f.address, '[]', '[]', :position, 0, :run
FROM foreign_row f CROSS JOIN object b ON b.id = f.object WHERE f.id = :row
AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.person = 0 AND o.object = f.object AND o.record = f.id AND o.state = 3);

-- name: shown
SELECT (SELECT count(*) FROM listed WHERE object = :object)
  + (SELECT count(*) FROM foreign_row WHERE object = :object AND sweep = :sweep);

-- name: foreign_gone
-- What becomes of a row whose removal is in flight, the answer tells.
DELETE FROM foreign_row WHERE object = :object AND sweep < :sweep
AND id NOT IN (SELECT record FROM operation WHERE batch IS NOT NULL AND state = 3 AND object = :object AND kind = 'remove');

-- name: range
-- How many of the next rows of ours there are, and the last of their people.
SELECT count(*), coalesce(max(person), :after) FROM (SELECT person FROM :target WHERE person > :after ORDER BY person LIMIT :most);

-- name: not_listed
SELECT :object, t.person, :now FROM :target t CROSS JOIN operation o ON o.id = t.operation
WHERE t.person > :after AND t.person <= :upto AND o.closed_at < :began
AND NOT EXISTS (SELECT 1 FROM listed l WHERE l.object = :object AND l.person = t.person)
AND NOT EXISTS (SELECT 1 FROM in_flight f WHERE f.object = :object AND f.person = t.person);

-- name: hold
INSERT INTO hold (connection, object, class, reason, opened_at) VALUES (:connection, :object, 'vanished', :reason, :now)
ON CONFLICT (connection, object, class) WHERE closed_at IS NULL DO UPDATE SET reason = excluded.reason;

-- name: dirty_vanished
INSERT OR IGNORE INTO dirty SELECT person FROM vanished WHERE object = ? AND accepted = 0;

-- name: remove_blocked
-- Rows at an address of the person's, and under a key of theirs: the one we gave them, or, where ids are keys (:by_id), the id
-- of one of their records. Most audiences have none.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, state, run)
SELECT :connection, :object, 'remove', 0, c.person, f.id, f.key, f.address, '[]', '[]', 0, :run
FROM (SELECT DISTINCT c.person, f.id FROM chunk c CROSS JOIN record r ON r.person = c.person AND r.address IS NOT NULL
  CROSS JOIN foreign_row f ON f.address = r.address AND f.object = :object
  UNION SELECT c.person, f.id FROM chunk c CROSS JOIN record r ON r.person = c.person
  CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = r.id
  CROSS JOIN foreign_row f ON f.object = :object AND f.key = k.key
  WHERE EXISTS (SELECT 1 FROM foreign_row WHERE object = :object)
  UNION SELECT c.person, f.id FROM chunk c CROSS JOIN record r ON r.person = c.person
  CROSS JOIN foreign_row f ON f.object = :object AND f.key = r.rid
  WHERE :by_id AND EXISTS (SELECT 1 FROM foreign_row WHERE object = :object)) w
CROSS JOIN chunk c ON c.person = w.person CROSS JOIN foreign_row f ON f.id = w.id
CROSS JOIN decision d ON d.person = c.person WHERE :blocked
AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.object = :object AND o.person = c.person AND o.record = f.id AND o.state = 3);

-- name: remove_former
-- Whatever else the guard holds: the person's row is there, and two of them would be two mails. Under a key that is in use
-- again (a merge was undone) it is whoever's it was last, unless a row is there or wished for.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, state, run)
SELECT :connection, :object, 'remove', 2, c.person, f.id, f.key, f.address, '[]', '[]', 0, :run
FROM chunk c CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person AND k.until >= 0
CROSS JOIN foreign_row f ON f.object = :object AND f.key = k.key AND f.former = 1
WHERE EXISTS (SELECT 1 FROM foreign_row WHERE former = 1 AND object = :object)   -- most audiences have none
AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.object = :object AND o.person = c.person AND o.state <= 3
  AND (o.record = f.id OR k.until = 0 AND o.kind = 'upsert'))
AND NOT (k.until = 0 AND EXISTS (SELECT 1 FROM :target t WHERE t.person = c.person));

-- name: left_behind
INSERT INTO foreign_row (object, key, address, former, sweep)
SELECT o.object, t.key, t.address, 1, coalesce((SELECT s.sweep FROM object b CROSS JOIN stream s ON s.connection = b.connection
  AND s.object = b.name AND s.kind = 'row' WHERE b.id = o.object), 0)
FROM operation o CROSS JOIN :target t ON t.person = o.person
WHERE :members AND o.before IS NOT NULL AND t.key <> o.key
ON CONFLICT (object, key) DO UPDATE SET sweep = excluded.sweep, former = 1;

-- name: to_clear
SELECT b.cleared_at IS NULL,
  c.approved_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM foreign_row f WHERE f.object = b.id AND f.former = 0)
FROM object b CROSS JOIN connection c ON c.id = b.connection
CROSS JOIN stream s ON s.connection = b.connection AND s.object = b.name AND s.kind = 'row' AND s.full_at IS NOT NULL
WHERE b.id = ?;

-- name: cleared
UPDATE object SET cleared_at = ? WHERE id = ?;

-- name: foreign_range
-- How many of the next foreign rows there are, and the last of their keys.
SELECT count(*), coalesce(max(key), :after)
FROM (SELECT key FROM foreign_row WHERE object = :object AND key > :after ORDER BY key LIMIT :most);

-- name: forget_owned
-- Rows that are gone, and those of whoever is wanted by now under their key: a removal that waited would take the new row.
DELETE FROM operation WHERE object = :object AND person = 0 AND state < 3
AND (record NOT IN (SELECT id FROM foreign_row WHERE object = :object)
  OR class = 2 AND EXISTS (SELECT 1 FROM subscriber_key k CROSS JOIN operation o ON o.person = k.person AND o.object = :object
    AND o.kind = 'upsert' AND o.state <= 3 WHERE k.connection = :connection AND k.key = operation.key));

-- name: remove_owned
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, state, run)
SELECT :connection, :object, 'remove', 2, 0, f.id, f.key, f.address, '[]', '[]', 0, :run FROM foreign_row f
WHERE f.object = :object AND f.key > :after AND f.key <= :upto
AND f.id NOT IN (SELECT record FROM operation WHERE state < 3 AND object = :object AND kind = 'remove'
  UNION ALL SELECT record FROM operation WHERE state = 3 AND object = :object AND kind = 'remove')
AND NOT EXISTS (SELECT 1 FROM subscriber_key k CROSS JOIN operation o ON o.person = k.person AND o.object = :object
  AND o.kind = 'upsert' AND o.state <= 3 WHERE k.connection = :connection AND k.key = f.key);

-- name: audiences
-- Those that ever had a target.
SELECT b.id, c.name, b.name FROM object b CROSS JOIN connection c ON c.id = b.connection
WHERE b.kind = 'audience' AND EXISTS (SELECT 1 FROM sqlite_master m WHERE m.name = 'target_' || b.id) ORDER BY b.id;
