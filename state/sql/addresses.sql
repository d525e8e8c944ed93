-- name: find
SELECT address FROM address_of WHERE hash = ?;

-- name: add
INSERT INTO address (hash, email) VALUES (?, ?) RETURNING id;

-- name: note
INSERT INTO address_new (hash, address) VALUES (?, ?);

-- name: look_up
UPDATE :page SET address = (SELECT o.address FROM address_of o WHERE o.hash = :page.hash)
WHERE hash IS NOT NULL AND address IS NULL;

-- name: last
SELECT coalesce(max(id), 0) FROM address;

-- name: add_of
INSERT INTO address (hash, email) SELECT hash, max(email) FROM :page WHERE hash IS NOT NULL AND address IS NULL
GROUP BY hash ORDER BY min(n);

-- name: note_of
INSERT INTO address_new (hash, address) SELECT hash, id FROM address WHERE id > ?;

-- name: spell
UPDATE address SET email = p.:email FROM :page p WHERE p.:address = address.id AND address.email IS NULL AND p.:email IS NOT NULL
AND (:forgotten OR address.forgotten IS NULL) RETURNING id;

-- name: compare_anew
-- So far nobody could compare them with imported digests.
UPDATE meta SET value = min(value, ?) WHERE name = 'digested_to';

-- name: waiting
SELECT count(*) FROM address_new;

-- name: border
SELECT hash FROM address_new ORDER BY hash LIMIT 1 OFFSET ?;

-- name: move
INSERT INTO address_key (hash, address) SELECT hash, address FROM address_new WHERE hash < ? ORDER BY hash;

-- name: moved
DELETE FROM address_new WHERE hash < ?;

-- name: moved_to
-- The temporary table is empty: every address is in the other one.
INSERT OR REPLACE INTO meta SELECT 'addresses_moved', coalesce(max(id), 0) FROM address;

-- name: gather_table
CREATE TEMP TABLE address_new (hash BLOB PRIMARY KEY, address INTEGER NOT NULL) WITHOUT ROWID;

-- name: gather_view
-- Instead of the view of that name in the file.
CREATE TEMP VIEW address_of AS SELECT hash, address FROM temp.address_new
  UNION ALL SELECT hash, address FROM main.address_key;

-- name: gather
INSERT INTO address_new SELECT a.hash, a.id FROM address a
WHERE a.id > coalesce((SELECT value FROM meta WHERE name = 'addresses_moved'), 0)
AND NOT EXISTS (SELECT 1 FROM address_key k WHERE k.hash = a.hash);

-- name: move_all
INSERT INTO address_key (hash, address) SELECT hash, address FROM address_new ORDER BY hash;

-- name: moved_all
DELETE FROM address_new;
