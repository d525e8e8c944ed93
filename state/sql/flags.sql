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

-- name: doubts
-- Of these records, as just read (id, last change, address, the record that absorbed it), those that have changed since the
-- backup, or of which the field lies beside them, so that nobody knows; and whose person, or somebody at their address, came
-- back to one of these topics (NULL = all mail) or had a refusal of it retracted.
WITH about (id, state) AS MATERIALIZED (
  SELECT u.id, s.value->>2 FROM utterance u CROSS JOIN json_each(u.said) s
  WHERE u.baseline = 0 AND CASE WHEN :topics IS NULL THEN s.value->>0 = 'master' AND u.unit IS NULL
    ELSE s.value->>0 = 'topic' AND s.value->>1 IN (SELECT value FROM json_each(:topics)) END)
SELECT r.id FROM json_each(:rows) j CROSS JOIN record r ON r.stream = :stream AND r.rid = j.value->>0
CROSS JOIN :table x ON x.record = r.id
WHERE x.:field IN (SELECT value FROM json_each(:refusing)) AND (:beside OR j.value->>1 IS NOT r.stamp)
AND EXISTS (
  SELECT 1 FROM entry e LEFT JOIN entry t ON t.position = e.retracts
  WHERE e.position IN (
    SELECT f.position FROM record o CROSS JOIN record p ON p.person = o.person CROSS JOIN entry f ON f.record = p.id
    WHERE o.id = r.id OR o.address IN (r.address, j.value->>2) OR (o.stream = r.stream AND o.rid = j.value->>3)
    UNION ALL SELECT f.position FROM entry f WHERE f.address IN (r.address, j.value->>2))
  AND (EXISTS (SELECT 1 FROM about a WHERE a.id = e.utterance AND a.state = 'opt_in')
    OR EXISTS (SELECT 1 FROM about a WHERE a.id = t.utterance AND a.state = 'opt_out')));

-- name: stream
SELECT s.id FROM stream s CROSS JOIN connection c ON c.id = s.connection AND c.name = ? WHERE s.object = ? AND s.kind = 'record';
