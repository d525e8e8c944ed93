-- name: echoed
INSERT INTO echo (record, field, at, seen_at) VALUES (?, ?, ?, ?)
ON CONFLICT (record, field) DO UPDATE SET at = excluded.at, seen_at = excluded.seen_at, traced = 0;

-- name: overwritten
DELETE FROM echo WHERE record = ? AND field = ?;

-- name: untraced
-- Echoes seen by :until whose original is nowhere: nothing that another connection says about the person or the address
-- stops mail and was said after :window µs before the echo.
SELECT q.record, q.field, q.at, r.stream, r.rid, r.address, s.connection
FROM echo q CROSS JOIN record r ON r.id = q.record CROSS JOIN stream s ON s.id = r.stream
WHERE q.traced = 0 AND q.seen_at <= :until AND NOT EXISTS (
  SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
  WHERE e.position IN (SELECT f.position FROM record o CROSS JOIN entry f ON f.record = o.id WHERE o.person = r.person
                       UNION SELECT f.position FROM entry f WHERE f.address = r.address)
  AND u.connection IS NOT s.connection AND u.said LIKE '%"opt_out"%' AND e.said_hi > q.at - :window);

-- name: waiting
SELECT 1 FROM echo WHERE traced = 0 AND seen_at <= ? LIMIT 1;

-- name: traced
UPDATE echo SET traced = 1 WHERE traced = 0 AND seen_at <= ?;
