-- name: record
-- Statements of an admin name no stream. Two of them may count their records alike: that of who had the address is meant.
SELECT r.id FROM stream s CROSS JOIN connection c ON c.id = s.connection CROSS JOIN record r ON r.stream = s.id
WHERE s.kind = 'record' AND r.rid = :rid AND ((:object = '' AND (r.address = :address OR NOT EXISTS (
    SELECT 1 FROM stream t CROSS JOIN record o ON o.stream = t.id AND o.rid = :rid WHERE t.kind = 'record' AND t.id <> s.id)))
  OR (c.name = :connection AND s.object = :object)) LIMIT 1;

-- name: forget_cursors
UPDATE stream SET cursor = NULL, full_at = NULL;

-- name: everyone
INSERT OR IGNORE INTO dirty SELECT DISTINCT person FROM record;

-- name: doubt
-- Whoever came back by a statement after the backup's, or of whom a refusal was retracted.
INSERT OR IGNORE INTO doubted (record, topic)
WITH later (position, said) AS (
  SELECT e.position, value FROM entry e CROSS JOIN utterance u ON u.id = e.utterance AND u.unit IS NULL, json_each(u.said)
  WHERE e.position > :after AND value->>2 = 'opt_in'
  UNION ALL
  SELECT e.position, value FROM entry e CROSS JOIN entry t ON t.position = e.retracts
  CROSS JOIN utterance u ON u.id = t.utterance AND u.unit IS NULL, json_each(u.said)
  WHERE e.position > :after AND value->>2 = 'opt_out'),
whose (position, person) AS (
  SELECT l.position, r.person FROM later l CROSS JOIN entry e ON e.position = l.position
  CROSS JOIN record r ON r.id = e.record
  UNION SELECT l.position, r.person FROM later l CROSS JOIN entry e ON e.position = l.position
  CROSS JOIN record r ON r.address = e.address
  UNION SELECT l.position, k.person FROM later l CROSS JOIN entry e ON e.position = l.position
  CROSS JOIN utterance u ON u.id = e.utterance CROSS JOIN subscriber_key k ON k.connection = u.connection AND k.key = e.key)
SELECT r.id, coalesce(l.said->>1, '') FROM whose w CROSS JOIN later l ON l.position = w.position
CROSS JOIN record r ON r.person = w.person;

-- name: unapprove
-- The guard compares this with the mapping in use, and holds everything but opt-outs while they differ.
INSERT OR REPLACE INTO meta VALUES ('approved_mapping', 'restored');
