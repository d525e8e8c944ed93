-- name: keep
INSERT OR REPLACE INTO catalogue (connection, mapped, account, at, objects, notes) VALUES (?, ?, ?, ?, ?, ?);

-- name: kept
SELECT mapped, account, at, objects, notes FROM catalogue WHERE connection = ?;

-- name: note
UPDATE catalogue SET notes = ?1 WHERE connection = ?2 AND notes <> ?1;

-- name: forget
DELETE FROM catalogue WHERE connection = ?;
