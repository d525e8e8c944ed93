-- name: stream
INSERT INTO stream (connection, object, kind, fields, consent) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (connection, object, kind) DO UPDATE SET consent = excluded.consent,
  cursor = CASE WHEN stream.fields = excluded.fields THEN stream.cursor END,
  anew = stream.anew OR stream.kind = 'record' AND stream.fields <> excluded.fields,
  fields = excluded.fields;

-- name: stream_row
SELECT id, connection, object, kind, consent, cursor, sweep, full_at, complete_at, restored, fields
FROM stream WHERE connection = ? AND object = ? AND kind = ?;

-- name: begin_sweep
UPDATE stream SET sweep = sweep + 1 WHERE id = ? RETURNING sweep;

-- name: end_sweep
UPDATE stream SET full_at = ?, complete_at = ?, restored = 0 WHERE id = ?;

-- name: failed
UPDATE stream SET error = ? WHERE id = ?;

-- name: close_run
UPDATE run SET ended_at = :now, outcome = :outcome, counts = :counts, quiet = :quiet WHERE id = :run;

-- name: forget_quiet_runs
DELETE FROM run WHERE quiet = 1 AND started_at < :before;

-- name: feeds
-- Every consent-bearing stream: when it was last read to its end, and since when it has been known.
SELECT s.id, c.name, s.object, s.kind, s.complete_at, s.full_at, s.error FROM stream s
CROSS JOIN connection c ON c.id = s.connection WHERE s.consent = 1;

-- name: begin_express
INSERT INTO run (trigger, started_at, ended_at, outcome, mapping) VALUES ('webhook', :now, :now, 'express', :mapping) RETURNING id;

-- name: end_express
-- What had nothing to do is no run.
DELETE FROM run WHERE id = :run AND :count = 0;

-- name: count_express
UPDATE run SET counts = json_object('people', :people, 'suppressions', :count) WHERE id = :run;

-- name: is_ahead
SELECT EXISTS (SELECT 1 FROM stream WHERE complete_at > :limit OR full_at > :limit);

-- name: read_long_ago
UPDATE stream SET complete_at = CASE WHEN complete_at > :now THEN :long_ago ELSE complete_at END,
  full_at = CASE WHEN full_at > :now THEN :long_ago ELSE full_at END;

-- name: retry_at_once
UPDATE operation SET not_before = NULL WHERE state = 2 AND not_before > :now;

-- name: ask_at_once
UPDATE batch SET ask_at = :now WHERE state <> 'closed' AND ask_at > :now;
