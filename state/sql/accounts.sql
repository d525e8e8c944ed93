-- name: kept
-- The account of a connection, and whether anything was ever read there, written, or heard: a state that was made of the
-- journal has read nothing, and knows who said what there.
SELECT account, place, elsewhere, approved_at IS NOT NULL OR EXISTS (
  SELECT 1 FROM stream s WHERE s.connection = c.id AND (s.sweep > 0 OR s.cursor IS NOT NULL OR s.complete_at IS NOT NULL))
OR EXISTS (SELECT 1 FROM utterance u WHERE u.connection = c.id)
FROM connection c WHERE c.name = ?;

-- name: keep
UPDATE connection SET account = ?, place = ?, elsewhere = NULL WHERE name = ?;

-- name: refuse
UPDATE connection SET elsewhere = ? WHERE name = ?;

-- name: read_again
-- Every stream of the connection from its beginning, and listed; what is known stays known.
UPDATE stream SET cursor = NULL, full_at = CASE WHEN full_at IS NOT NULL THEN 0 END
WHERE connection = (SELECT id FROM connection WHERE name = ?);

-- name: forget_description
DELETE FROM catalogue WHERE connection = (SELECT id FROM connection WHERE name = ?);

-- name: all
SELECT name, role, account, place, elsewhere FROM connection ORDER BY name;
