-- name: record
-- Statements of an admin name no stream. Two of them may count their records alike: that of who had the address is meant.
SELECT r.id FROM stream s CROSS JOIN connection c ON c.id = s.connection CROSS JOIN record r ON r.stream = s.id
WHERE s.kind = 'record' AND r.rid = :rid AND ((:object = '' AND (r.address = :address OR NOT EXISTS (
    SELECT 1 FROM stream t CROSS JOIN record o ON o.stream = t.id AND o.rid = :rid WHERE t.kind = 'record' AND t.id <> s.id)))
  OR (c.name = :connection AND s.object = :object)) LIMIT 1;

-- name: forget_cursors
UPDATE stream SET cursor = NULL, full_at = NULL, restored = complete_at IS NOT NULL;

-- name: everyone
INSERT OR IGNORE INTO dirty SELECT DISTINCT person FROM record;

-- name: unapprove
-- The guard compares this with the mapping in use, and holds everything but opt-outs while they differ.
INSERT OR REPLACE INTO meta VALUES ('approved_mapping', 'restored');
