-- Parcels (state/parcels.py). An operation in one has the state -1, and lies between its parcel's first and last; whatever has
-- to be told of it alone takes it out by giving it a state of its own.

-- name: pack
INSERT INTO parcel (first, last, connection, object, columns) VALUES (:first, :last, :connection, :object, :columns);

-- name: queue
UPDATE operation SET state = 2 WHERE id BETWEEN :first AND :last AND state = -1;

-- name: grow
-- What was planned next for the same object goes into the same parcel.
UPDATE parcel SET last = :last WHERE last = :first - 1 AND connection = :connection AND object = :object AND columns = :columns
AND batch IS NULL;

-- name: next
SELECT l.first, l.last, l.object, l.columns FROM parcel l CROSS JOIN connection c ON c.id = l.connection AND c.approved_at IS NOT NULL
WHERE l.connection = :connection AND l.batch IS NULL AND l.object NOT IN (SELECT value FROM json_each(:absent))
ORDER BY l.first LIMIT 1;

-- name: like
SELECT first, last, object, columns FROM parcel
WHERE batch IS NULL AND connection = :connection AND object = :object AND columns = :columns ORDER BY first LIMIT 1;

-- name: empty
DELETE FROM parcel WHERE first = :first;

-- name: rest
INSERT INTO parcel (first, last, connection, object, columns)
SELECT :last + 1, last, connection, object, columns FROM parcel WHERE first = :first AND last > :last;

-- name: seal
UPDATE parcel SET last = :last, batch = :batch WHERE first = :first;

-- name: of
SELECT first, last FROM parcel WHERE batch IS NOT NULL AND batch = ? ORDER BY first;

-- name: close
DELETE FROM parcel WHERE batch IS NOT NULL AND batch = ?;

-- name: unpack
UPDATE operation SET state = 3, batch = :batch, attempts = 1 WHERE id BETWEEN :first AND :last AND state = -1;

-- name: unpack_people
UPDATE operation SET state = 3, batch = w.batch, attempts = 1
FROM (SELECT o.id, l.batch FROM (SELECT 1 FROM parcel WHERE batch IS NOT NULL LIMIT 1)   -- mostly there is none
  CROSS JOIN chunk c CROSS JOIN operation o ON o.person = c.person AND o.state = -1
  CROSS JOIN parcel l ON l.first = (SELECT max(f.first) FROM parcel f WHERE f.first <= o.id) AND l.last >= o.id
  WHERE l.batch IS NOT NULL) w
WHERE operation.id = w.id;
