-- name: known
SELECT field, meaning, unknown, evidence FROM flag WHERE stream = ?;

-- name: forget
DELETE FROM flag WHERE stream = ? AND field = ? AND meaning = ?;

-- name: learn
-- A stream that was never read to its end has everything as its baseline anyway.
INSERT INTO flag (stream, field, meaning, evidence, unknown)
SELECT ?, ?, ?, ?, ? AND complete_at IS NOT NULL FROM stream WHERE id = ?;

-- name: from_the_start
UPDATE stream SET cursor = NULL, anew = 1 WHERE id = ? AND complete_at IS NOT NULL;

-- name: unknown
SELECT field FROM flag WHERE stream = ? AND unknown = 1;

-- name: settled
UPDATE flag SET unknown = 0 WHERE stream = ? AND unknown = 1;

-- name: unheard
SELECT EXISTS (SELECT 1 FROM flag WHERE stream = ? AND field = ? AND evidence <> ? AND unknown = 0);

-- name: heard
UPDATE flag SET evidence = ? WHERE stream = ? AND field = ? AND evidence <> ?;

-- name: doubted
SELECT EXISTS (SELECT 1 FROM doubted);

-- name: doubts_of
-- Those of the page's records that have changed since the backup, and all of them for a field :beside the record, of which
-- that tells nothing.
SELECT p.record FROM page p CROSS JOIN record r ON r.id = p.record AND (p.modified IS NOT r.stamp OR :beside)
WHERE NOT p.deleted AND EXISTS (SELECT 1 FROM doubted d WHERE d.record = p.record AND d.topic IN (SELECT value FROM json_each(:topics)))

-- name: read_anew
DELETE FROM doubted WHERE record IN (SELECT record FROM page WHERE NOT deleted);

-- name: stream
SELECT s.id FROM stream s CROSS JOIN connection c ON c.id = s.connection AND c.name = ? WHERE s.object = ? AND s.kind = 'record';
