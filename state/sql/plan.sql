-- name: unranked
-- Who is among the first of a ranked segment is chosen again; the mark moves, so that a choice under way knows it.
INSERT INTO meta VALUES ('unranked', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1;

-- name: forget_wishes
DELETE FROM operation WHERE state < 3 AND person IN (SELECT person FROM chunk)
RETURNING object, person, record, kind, key, columns, payload, state = 2 AND class = 0;

-- name: still_queued
UPDATE operation SET state = 2 WHERE object = ? AND person = ? AND record = ? AND kind = ? AND key = ? AND columns = ?
AND payload IS ? AND state < 3 AND state = 0 AND class = 0
AND connection IN (SELECT id FROM connection WHERE approved_at IS NOT NULL);

-- name: only_suppressing_flags
DELETE FROM flagwish WHERE class <> 0;

-- name: suppressing_flags_first
-- A refusal waits for nothing, and is written again if it is not taken: what a record is to hold of somebody who came back to
-- another topic goes after it (plan.rest_of_flags).
DELETE FROM flagwish WHERE class <> 0 AND record IN (SELECT record FROM flagwish WHERE class = 0);

-- name: drop_wishes
DELETE FROM operation WHERE state < 3 AND person IN (SELECT person FROM chunk)
AND (class <> 0 OR connection IN (SELECT id FROM connection WHERE approved_at IS NULL));

-- name: release_suppressions
-- While a burst is undecided only rows go at once: what else is demanded by the click, and not by the burst, the cycle tells.
UPDATE operation SET state = 2 WHERE state = 0 AND person IN (SELECT person FROM chunk)
AND (kind = 'remove' OR NOT EXISTS (SELECT 1 FROM hold WHERE class = 'burst' AND closed_at IS NULL));

-- name: wait
-- Whoever has something in flight is looked at again when it has resolved.
INSERT OR IGNORE INTO waiting SELECT c.person FROM chunk c
WHERE EXISTS (SELECT 1 FROM operation WHERE state = 3)   -- answered once
AND EXISTS (SELECT 1 FROM operation f WHERE f.person = c.person AND f.state = 3);

-- name: block_key
-- Every subscriber the ESP has under the person's key, that of a record merged into it, or any of its addresses gets the
-- blocking status; but a key of somebody else is that person's affair, who holds the address no longer or is barred, too.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, before, permit,
  state, run)
SELECT :connection, :object, 'status', 0, w.person, w.id, w.key, w.address, '["status","reason"]',
  '["unsubscribed","syncd"]', CASE WHEN s.status IS NULL THEN NULL ELSE json_array(s.status) END, w.position, 0, :run
FROM (SELECT c.person, d.position, m.id, m.key, m.address FROM refusing c CROSS JOIN decision d ON d.person = c.person AND :opted_out
        CROSS JOIN record r ON r.person = c.person AND r.address IS NOT NULL
        CROSS JOIN remote_status m INDEXED BY remote_status_address
          ON m.address = r.address AND m.connection = :connection AND m.container = ''
          AND m.status <> 'removed' AND m.key NOT GLOB 'address:*'
          AND NOT EXISTS (SELECT 1 FROM subscriber_key k CROSS JOIN record o ON o.id = k.person
            CROSS JOIN attr a ON a.person = o.person
            WHERE k.connection = :connection AND k.key = m.key AND o.person <> c.person)
      UNION SELECT c.person, d.position, m.id, m.key, m.address FROM refusing c CROSS JOIN decision d ON d.person = c.person AND :opted_out
        CROSS JOIN record r ON r.person = c.person
        CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = r.id
        CROSS JOIN remote_status m ON m.connection = :connection AND m.container = '' AND m.key = k.key
          AND m.status <> 'removed') w
LEFT JOIN remote_status s ON s.connection = :connection AND s.container = :container AND s.key = w.key
WHERE s.status IS NOT 'unsubscribed'
AND NOT EXISTS (SELECT 1 FROM operation f WHERE f.person = w.person AND f.object = :object AND f.record = w.id AND f.state = 3
  AND f.payload = '["unsubscribed","syncd"]');

-- name: carry_key
-- Who is to move to another key is refused under it first whatever is refused under the present one or by the decision. What
-- somebody else had set there is not ours under the new key either.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, before, permit,
  state, run)
SELECT :connection, :object, 'status', 0, c.person, -1, n.key, a.address, '["status","reason","create"]',
  json_array('unsubscribed', iif(s.status = 'unsubscribed' AND s.ours IS NULL, 'key', 'syncd'), 1),
  CASE WHEN t.status IS NOT NULL THEN json_array(t.status) END, d.position, 0, :run
FROM (SELECT 1 FROM subscriber_key WHERE connection = :connection AND until = -1 LIMIT 1)   -- mostly nobody moves
CROSS JOIN chunk c CROSS JOIN subscriber_key n ON n.connection = :connection AND n.person = c.person AND n.until = -1
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person AND k.until = 0
CROSS JOIN decision d ON d.person = c.person CROSS JOIN attr a ON a.person = c.person
LEFT JOIN remote_status s ON s.connection = :connection AND s.container = :container AND s.key = k.key
LEFT JOIN remote_status t ON t.connection = :connection AND t.container = :container AND t.key = n.key
WHERE (s.status = 'unsubscribed' OR :opted_out) AND t.status IS NOT 'unsubscribed'
AND NOT EXISTS (SELECT 1 FROM operation f WHERE f.person = n.person AND f.object = :object AND f.record = -1 AND f.state = 3);

-- name: block_unknown
-- People the ESP did not know when it was read: where the mapping asks to create them unsubscribed, wherever they ever had a
-- row, because a send makes subscribers of rows and tells nobody, and where they were known under another key. What is one
-- subscriber to several business units (:sisters) is known to all as soon as one has it.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, permit, state, run)
SELECT :connection, :object, 'status', 0, c.person, 0, k.key, a.address, '["status","reason","create"]',
  '["unsubscribed","syncd",1]', d.position, 0, :run
FROM refusing c CROSS JOIN decision d ON d.person = c.person AND :opted_out CROSS JOIN attr a ON a.person = c.person
CROSS JOIN address ad ON ad.id = a.address AND ad.email IS NOT NULL   -- who is forgotten is made known to nobody
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person AND k.until = 0
WHERE (:create OR EXISTS (SELECT 1 FROM operation h WHERE h.person = k.person AND h.key = k.key AND h.state IN (3, 10)
    AND h.connection IN (SELECT value FROM json_each(:sisters))
    AND (h.kind = 'upsert' OR h.kind = 'status' AND instr(h.columns, '"create"')))
  OR EXISTS (SELECT 1 FROM subscriber_key h WHERE h.connection = :connection AND h.person = k.person AND h.until > 0))
AND NOT EXISTS (SELECT 1 FROM remote_status m WHERE m.connection = :connection AND m.container = ''
  AND m.key = k.key AND m.status <> 'removed')
AND NOT EXISTS (SELECT 1 FROM remote_status s WHERE s.connection = :connection AND s.container = :container
  AND s.key = k.key AND s.status = 'unsubscribed')
AND NOT EXISTS (SELECT 1 FROM operation f WHERE f.person = k.person AND f.object = :object AND f.record = 0 AND f.state = 3);

-- name: shut
-- Whose key is blocked anywhere at a connection: few, looked for once for all its containers.
INSERT INTO shut SELECT s.id, c.person
FROM (SELECT 1 FROM remote_status WHERE connection = :connection AND status = 'unsubscribed' LIMIT 1)   -- or nobody's is
CROSS JOIN chunk c CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person AND k.until = 0
CROSS JOIN remote_status s INDEXED BY remote_status_blocked ON s.connection = :connection AND s.key = k.key
  AND s.status = 'unsubscribed';

-- name: block_newcomer
-- People the ESP did not know when it was read and who get their first row, or are made known, by this very plan: the same.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, permit, state, run)
SELECT :connection, :object, 'status', 0, c.person, 0, k.key, a.address, '["status","reason","create"]',
  '["unsubscribed","syncd",1]', d.position, 0, :run
FROM refusing c CROSS JOIN decision d ON d.person = c.person AND :opted_out CROSS JOIN attr a ON a.person = c.person
CROSS JOIN address ad ON ad.id = a.address AND ad.email IS NOT NULL   -- who is forgotten is made known to nobody
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person AND k.until = 0
WHERE EXISTS (SELECT 1 FROM operation h WHERE h.person = c.person AND h.key = k.key AND h.state < 3
  AND h.connection IN (SELECT value FROM json_each(:sisters))
  AND (h.kind = 'upsert' OR h.kind = 'status' AND instr(h.columns, '"create"')))
AND NOT EXISTS (SELECT 1 FROM remote_status m WHERE m.connection = :connection AND m.container = ''
  AND m.key = k.key AND m.status <> 'removed')
AND NOT EXISTS (SELECT 1 FROM remote_status s WHERE s.connection = :connection AND s.container = :container
  AND s.key = k.key AND s.status = 'unsubscribed')
AND NOT EXISTS (SELECT 1 FROM operation f WHERE f.person = c.person AND f.object = :object AND f.record = 0 AND f.state <= 3);

-- name: reopen_key
-- Whoever opted in again; and whoever was blocked by us because of somebody else's refusal at the address, or of one that was
-- retracted, and is not barred by anything any more.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, before, permit,
  state, run)
SELECT :connection, :object, 'status', 1, c.person, s.id, s.key, s.address, '["status","reason"]', '["subscribed","syncd"]',
  json_array(s.status), d.position, 0, :run
FROM shut c CROSS JOIN remote_status s ON s.id = c.status AND s.connection = :connection AND s.container = :container
CROSS JOIN decision d ON d.person = c.person CROSS JOIN attr a ON a.person = c.person
WHERE :reopened AND NOT EXISTS (SELECT 1 FROM operation f WHERE f.person = iif(s.id, c.person, 0)   -- asked when ``s`` is known
  AND f.object = :object AND f.state = 3);

-- name: block_address
-- Address-keyed containers (a blacklist, mailing lists): for people this connection knows, or who are in the container, or,
-- where it mails for us (:mails), among its subscribers.
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, before, permit,
  state, run)
SELECT :connection, :object, 'status', 0, w.person, w.address, ad.email, w.address, '["status","reason"]',
  '["unsubscribed","syncd"]', CASE WHEN s.status IS NULL THEN NULL ELSE json_array(s.status) END, w.position, 0, :run
FROM (SELECT DISTINCT c.person, d.position, r.address FROM refusing c CROSS JOIN decision d ON d.person = c.person AND :opted_out
        CROSS JOIN record r ON r.person = c.person AND r.address IS NOT NULL AND r.deleted = 0) w
CROSS JOIN address ad ON ad.id = w.address AND ad.email IS NOT NULL
LEFT JOIN remote_status s ON s.connection = :connection AND s.container = :container AND s.key = ad.email
WHERE coalesce(s.status, '') NOT IN ('unsubscribed', 'held')   -- a held row blocks already, and is read as held again
AND (s.status IS NOT NULL OR EXISTS (SELECT 1 FROM record o CROSS JOIN stream t ON t.id = o.stream
  WHERE o.person = w.person AND o.deleted = 0 AND t.connection = :connection)
  OR (:mails AND EXISTS (SELECT 1 FROM remote_status m WHERE m.connection = :connection AND m.container = ''
    AND m.key = ad.email AND m.status <> 'removed')))
AND NOT EXISTS (SELECT 1 FROM operation f WHERE f.person = w.person AND f.object = :object AND f.record = w.address
  AND f.state = 3 AND f.payload = '["unsubscribed","syncd"]');

-- name: reopen_address
INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload, before, permit,
  state, run)
SELECT :connection, :object, 'status', 1, c.person, a.address, ad.email, a.address, '["status","reason"]',
  '["subscribed","syncd"]', json_array(s.status), d.position, 0, :run
FROM chunk c CROSS JOIN decision d ON d.person = c.person CROSS JOIN attr a ON a.person = c.person
CROSS JOIN address ad ON ad.id = a.address AND ad.email IS NOT NULL
CROSS JOIN remote_status s ON s.connection = :connection AND s.container = :container AND s.key = ad.email
WHERE s.status = 'unsubscribed' AND :reopened
AND NOT EXISTS (SELECT 1 FROM operation f WHERE f.person = iif(s.id, c.person, 0)   -- asked when ``s`` is known
  AND f.object = :object AND f.state = 3);

-- name: update_records
INSERT INTO operation (connection, object, kind, class, person, record, key, columns, payload, before, permit, state, run)
SELECT :connection, :object, 'update', max(w.class), r.person, r.id, r.rid, json_group_array(w.field),
  json_group_array(w.value), json_group_array(w.before), d.position, 0, :run
FROM (SELECT * FROM flagwish ORDER BY record, field) w CROSS JOIN record r ON r.id = w.record
CROSS JOIN decision d ON d.person = r.person
WHERE NOT EXISTS (SELECT 1 FROM operation f WHERE f.object = :object AND f.record = r.id AND f.state = 3)
GROUP BY r.id;

-- name: after_the_other
-- The row of who was merged into somebody stays until that one's stands at its address: in between a send would miss the person.
UPDATE operation AS o SET depends_on = coalesce((SELECT max(u.id) FROM record m CROSS JOIN operation u
  ON u.person = m.person AND u.object = :object AND u.kind = 'upsert' AND u.state <= 3 AND u.address = o.address
  WHERE m.id = o.person), depends_on)
WHERE id IN (SELECT r.id FROM chunk c CROSS JOIN operation r ON r.object = :object AND r.person = c.person AND r.state < 3
  WHERE c.records = 0 AND r.kind = 'remove' AND r.class = 2 AND r.state = 0);

-- name: back_again
-- Whoever is taken out only where their row stands comes in anew once that is done.
INSERT OR IGNORE INTO waiting SELECT c.person FROM chunk c CROSS JOIN operation o ON o.object = :object AND o.person = c.person
  AND o.kind = 'remove' AND o.class = 0 AND o.state < 3 CROSS JOIN decision d ON d.person = c.person WHERE :mailable;
