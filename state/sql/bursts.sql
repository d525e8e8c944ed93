-- name: unjudged
-- Opt-outs by source that no person made, of those that came since bursts were last looked for. A status that shows what the
-- person clicked at the same time is that click.
SELECT u.connection, u.source, count(*) FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
WHERE e.position > :after AND e.position <= :upto AND u.connection IS NOT NULL AND u.person_made = 0 AND u.baseline = 0
AND u.method <> 'bounce' AND e.evidence IS NOT 'parting' AND instr(u.said, '"opt_out"') > 0
AND NOT EXISTS (SELECT 1 FROM entry f CROSS JOIN utterance w ON w.id = f.utterance WHERE f.record = e.record
  AND w.connection = u.connection AND w.person_made = 1 AND instr(w.said, '"opt_out"') > 0 AND abs(f.said_hi - e.said_hi) <= :tolerance)
AND NOT EXISTS (SELECT 1 FROM entry f CROSS JOIN utterance w ON w.id = f.utterance WHERE f.address = e.address
  AND w.connection = u.connection AND w.person_made = 1 AND instr(w.said, '"opt_out"') > 0 AND abs(f.said_hi - e.said_hi) <= :tolerance)
GROUP BY u.connection, u.source;

-- name: head
SELECT coalesce(max(position), 0) FROM chain;

-- name: judged_to
SELECT value FROM meta WHERE name = 'bursts_to';

-- name: judged
INSERT OR REPLACE INTO meta VALUES ('bursts_to', ?);

-- name: people
SELECT count(*) FROM decision;

-- name: add
INSERT INTO burst (hold, connection, source, after, upto) VALUES (:hold, :connection, :source, :after, :upto);

-- name: open
SELECT b.connection, b.source, b.after, b.upto, b.hold FROM burst b CROSS JOIN hold h ON h.id = b.hold WHERE h.closed_at IS NULL;

-- name: planned
SELECT DISTINCT object, kind FROM operation INDEXED BY operation_guarded
WHERE state IN (0, 1) AND state = 0 AND class = 0 AND kind IN ('status', 'update');

-- name: candidates
-- Suppressions planned at another system for people whom an open burst opts out, with its hold, and whether anything else
-- was ever said against mail to them or their addresses.
SELECT o.id, o.person, o.object, o.columns, h.hold, :separate OR EXISTS (
    SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
    WHERE e.position IN (SELECT f.position FROM record r CROSS JOIN entry f ON f.record = r.id WHERE r.person = o.person
      UNION SELECT f.position FROM record r CROSS JOIN entry f ON f.address = r.address WHERE r.person = o.person)
    AND instr(u.said, '"opt_out"') > 0 AND NOT EXISTS (SELECT 1 FROM burst b CROSS JOIN hold h ON h.id = b.hold
      WHERE h.closed_at IS NULL AND b.connection = u.connection AND b.source = u.source AND u.person_made = 0
      AND u.baseline = 0 AND e.position > b.after AND e.position <= b.upto))
FROM (SELECT o.id, (SELECT b.hold FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
        CROSS JOIN burst b ON b.connection = u.connection AND b.source = u.source AND b.connection <> o.connection
          AND e.position > b.after AND e.position <= b.upto CROSS JOIN hold h ON h.id = b.hold AND h.closed_at IS NULL
        WHERE e.position IN (SELECT f.position FROM record r CROSS JOIN entry f ON f.record = r.id WHERE r.person = o.person
          UNION SELECT f.position FROM record r CROSS JOIN entry f ON f.address = r.address WHERE r.person = o.person)
        AND u.person_made = 0 AND u.baseline = 0 AND instr(u.said, '"opt_out"') > 0 LIMIT 1) AS hold
      FROM operation o INDEXED BY operation_guarded
      WHERE o.state IN (0, 1) AND o.state = 0 AND o.object = :object AND o.kind = :kind AND o.class = 0 AND o.id > :after) h
CROSS JOIN operation o ON o.id = h.id WHERE h.hold IS NOT NULL ORDER BY h.id LIMIT :most;

-- name: unsure_of_chunk
-- Suppressions just planned for the chunk at other systems than a source that said, after a position, what no person did.
SELECT o.id, o.person, o.object, o.columns FROM chunk c CROSS JOIN operation o ON o.person = c.person
WHERE o.state = 0 AND o.class = 0 AND o.kind IN ('status', 'update') AND EXISTS (
  SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
  WHERE e.position IN (SELECT f.position FROM record r CROSS JOIN entry f ON f.record = r.id WHERE r.person = c.person
    UNION SELECT f.position FROM record r CROSS JOIN entry f ON f.address = r.address WHERE r.person = c.person)
  AND e.position > :after AND u.person_made = 0 AND u.baseline = 0 AND u.connection <> o.connection
  AND instr(u.said, '"opt_out"') > 0) ORDER BY o.person;

-- name: leave
DELETE FROM operation WHERE id = ? AND state = 0;

-- name: wait
UPDATE operation SET state = 1, hold = ? WHERE id = ? AND state = 0;

-- name: ranges
SELECT connection, source, after, upto FROM burst WHERE hold = ? ORDER BY after, source;

-- name: to_retract
-- A burst's statements that nobody retracted yet. A retraction binds what its target binds.
SELECT e.position, e.record, e.address, e.key, u.channel, u.purpose, u.unit FROM entry e
CROSS JOIN utterance u ON u.id = e.utterance
WHERE e.position > :after AND e.position <= :upto AND u.connection = :connection AND u.source = :source
AND u.person_made = 0 AND u.baseline = 0 AND instr(u.said, '"opt_out"') > 0
AND NOT EXISTS (SELECT 1 FROM entry x WHERE x.record = e.record AND x.retracts = e.position)
AND NOT EXISTS (SELECT 1 FROM entry x WHERE e.record IS NULL AND x.address = e.address AND x.retracts = e.position)
AND NOT EXISTS (SELECT 1 FROM entry x WHERE e.record IS NULL AND e.address IS NULL AND x.key = e.key AND x.record IS NULL
  AND x.retracts = e.position)
ORDER BY e.position LIMIT :most;

-- name: own_word
-- People of a burst who also opted out themselves: that stands.
SELECT count(DISTINCT r.person) FROM entry e CROSS JOIN utterance u ON u.id = e.utterance CROSS JOIN record r ON r.id = e.record
WHERE e.position > :after AND e.position <= :upto AND u.connection = :connection AND u.source = :source
AND u.person_made = 0 AND u.baseline = 0 AND instr(u.said, '"opt_out"') > 0
AND EXISTS (SELECT 1 FROM record o CROSS JOIN entry f ON f.record = o.id CROSS JOIN utterance w ON w.id = f.utterance
  WHERE o.person = r.person AND w.person_made = 1 AND instr(w.said, '"opt_out"') > 0);

-- name: of_statement
SELECT hold FROM burst WHERE connection = :connection AND source = :source AND after < :position AND upto >= :position;

-- name: close
UPDATE hold SET closed_at = ?, verdict = 'retracted' WHERE id = ? AND closed_at IS NULL;
