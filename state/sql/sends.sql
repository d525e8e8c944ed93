-- name: store
INSERT INTO send (connection, send, name, definition, containers, audiences, classification, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (connection, send) DO UPDATE SET name = excluded.name,
  definition = excluded.definition, containers = excluded.containers, audiences = excluded.audiences,
  classification = excluded.classification, at = excluded.at
WHERE (send.name, send.definition, send.containers, send.audiences, send.classification, send.at)
  IS NOT (excluded.name, excluded.definition, excluded.containers, excluded.audiences, excluded.classification, excluded.at);

-- name: named
SELECT s.send, s.name, s.definition, s.containers, s.audiences, s.classification, s.at
FROM json_each(:sends) j CROSS JOIN send s ON s.connection = :connection AND s.send = j.value;

-- name: since
SELECT c.name, s.send, s.name, s.definition, s.containers, s.audiences, s.classification, s.at
FROM send s CROSS JOIN connection c ON c.id = s.connection WHERE s.at >= ? ORDER BY s.at DESC, s.send;

-- name: unresolved
INSERT INTO quarantine (connection, object, key, reason, remedy, opened_at) VALUES (:connection, 'sends', :key,
  'unresolved_send', 'name the send under campaigns: in the mapping, with its segments or topics; until then who leaves by it leaves all mail',
  :now)
ON CONFLICT (connection, object, key, reason) DO NOTHING;

-- name: resolved
UPDATE quarantine SET closed_at = :now WHERE connection = :connection AND object = 'sends' AND reason = 'unresolved_send'
AND closed_at IS NULL AND key IN (SELECT value FROM json_each(:sends));

-- name: still_unresolved
SELECT key FROM quarantine WHERE connection = ? AND object = 'sends' AND reason = 'unresolved_send' AND closed_at IS NULL;

-- name: stood_for
SELECT until, content FROM stood_for WHERE connection = ? ORDER BY until;

-- name: until_now
UPDATE stood_for SET until = max(:now, 1 + (SELECT max(o.until) FROM stood_for o WHERE o.connection = :connection))
WHERE connection = :connection AND until = 0;

-- name: from_now
INSERT INTO stood_for (connection, until, content) VALUES (:connection, 0, :content);
