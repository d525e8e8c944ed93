-- name: record
-- Statements of an admin name no stream.
SELECT r.id FROM stream s CROSS JOIN connection c ON c.id = s.connection CROSS JOIN record r ON r.stream = s.id
WHERE s.kind = 'record' AND r.rid = :rid AND (:object = '' OR (c.name = :connection AND s.object = :object)) LIMIT 1;

-- name: forget_cursors
UPDATE stream SET cursor = NULL, full_at = NULL;

-- name: everyone
INSERT OR IGNORE INTO dirty SELECT DISTINCT person FROM record;

-- name: unapprove
-- The guard compares this with the mapping in use, and holds everything but opt-outs while they differ.
INSERT OR REPLACE INTO meta VALUES ('approved_mapping', 'restored');
