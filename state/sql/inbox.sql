-- name: receive
INSERT INTO inbox (connection, digest, notices, received_at) VALUES (:connection, :digest, :notices, :now)
ON CONFLICT (connection, digest) DO NOTHING RETURNING id;

-- name: waiting
-- The oldest deliveries that nobody has looked up yet.
SELECT id, notices FROM inbox WHERE connection = ? AND resolved_at IS NULL ORDER BY id LIMIT ?;

-- name: unresolved
SELECT c.name, i.digest, i.received_at, i.notices FROM inbox i CROSS JOIN connection c ON c.id = i.connection
WHERE i.resolved_at IS NULL ORDER BY i.id;

-- name: connections
SELECT DISTINCT connection FROM inbox WHERE resolved_at IS NULL;

-- name: resolve
-- The digest stays, to know a repetition; what was said about people goes.
UPDATE inbox SET resolved_at = ?, notices = NULL WHERE id = ? RETURNING connection, digest;

-- name: expire
-- The oldest first, some at a time.
DELETE FROM inbox WHERE id IN (SELECT id FROM inbox ORDER BY id LIMIT 1000) AND received_at < ?;

-- name: name
SELECT name FROM connection WHERE id = ?;

-- name: size
SELECT c.name, count(*), min(i.received_at) FROM inbox i CROSS JOIN connection c ON c.id = i.connection
WHERE i.resolved_at IS NULL GROUP BY c.name;

-- name: restored
INSERT OR IGNORE INTO inbox (connection, digest, notices, received_at, resolved_at)
SELECT id, :digest, :notices, :received, :resolved FROM connection WHERE name = :connection;

-- name: resolved
-- What a backup holds as waiting may have been resolved since.
UPDATE inbox SET resolved_at = :resolved, notices = NULL WHERE digest = :digest AND resolved_at IS NULL
AND connection = (SELECT id FROM connection WHERE name = :connection);

-- name: forgotten
SELECT 1 FROM address WHERE id = (SELECT address FROM address_of WHERE hash = ?) AND forgotten IS NOT NULL;
