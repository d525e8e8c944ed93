-- name: page_table
CREATE TEMP TABLE IF NOT EXISTS status_page (n INTEGER PRIMARY KEY, container TEXT, key TEXT, email TEXT, hash BLOB,
  status TEXT, at INTEGER, origin TEXT, evidence TEXT, address INTEGER,
  UNIQUE (container, key) ON CONFLICT REPLACE);

-- name: fill
INSERT INTO status_page (container, key, email, hash, status, at, origin, evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: event_table
CREATE TEMP TABLE IF NOT EXISTS event_page (n INTEGER PRIMARY KEY, event TEXT UNIQUE ON CONFLICT REPLACE, kind TEXT,
  container TEXT, send TEXT, key TEXT, email TEXT, hash BLOB, at INTEGER, evidence TEXT, address INTEGER);

-- name: fill_events
INSERT INTO event_page (event, kind, container, send, key, email, hash, at, evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: inherit_address
-- A list member or an event whose answer carries no address has that of the subscriber; of one not read yet, the address
-- that was last delivered under the key, or that the person has. Without it a refusal would not stay with the address.
UPDATE :page SET address = coalesce(
  (SELECT s.address FROM remote_status s WHERE s.connection = :connection AND s.container = '' AND s.key = :page.key),
  (SELECT o.address FROM subscriber_key k CROSS JOIN operation o ON o.person = k.person WHERE k.connection = :connection
    AND k.key = :page.key AND o.connection = :connection AND o.key = k.key AND o.address IS NOT NULL
    AND (o.state = 10 OR EXISTS (SELECT 1 FROM in_flight f WHERE f.id = o.id))
    ORDER BY o.id DESC LIMIT 1),
  (SELECT r.address FROM subscriber_key k CROSS JOIN record r ON r.person = k.person WHERE k.connection = :connection
    AND k.key = :page.key AND r.deleted = 0 AND r.address IS NOT NULL ORDER BY r.id LIMIT 1))
WHERE address IS NULL AND key IS NOT NULL;

-- name: changes
-- A status we are just writing is our own even where the vendor cannot tell: the poll overtook the reply. So is a stop of all
-- mail that we wrote at another connection, of the same account: business units may share one, with whoever is there under
-- another key than ours, too. And an opt-out dated after we sent a reopening that is not resolved, or after the person came
-- back there, is another one, though it looks like the one that stood before; after a restore also where she came back elsewhere,
-- as it was reopened for that, perhaps, since the backup was made. A subscriber who refused and has another address
-- now refuses there, too, unless the refusal is what we wrote; or the address: where it is our person's, her refusal is already.
SELECT p.container, p.key, p.address, s.status, p.status, p.at,
  CASE WHEN p.origin IN ('api', 'unknown') AND (EXISTS (
    SELECT 1 FROM operation o CROSS JOIN object b ON b.id = o.object AND b.name = p.container
    WHERE o.state = 3 AND o.kind = 'status' AND o.connection = :connection AND o.key = p.key AND o.payload->>0 = p.status)
  OR (p.container = '' AND p.status = 'unsubscribed' AND EXISTS (
    SELECT 1 FROM operation o CROSS JOIN object b ON b.id = o.object CROSS JOIN batch t ON t.id = o.batch
    WHERE o.person IN (SELECT k.person FROM subscriber_key k WHERE k.connection = :connection AND k.key = p.key
                       UNION ALL SELECT r.person FROM record r WHERE r.address = p.address)
    AND b.name = '' AND o.kind = 'status' AND o.class = 0 AND o.key = p.key
    AND (o.state = 3 OR (o.state = 10 AND p.at BETWEEN t.sealed_at - 600000000 AND o.closed_at + 600000000)))))
  THEN 'self' ELSE p.origin END, p.evidence,
  (SELECT k.person FROM subscriber_key k WHERE k.connection = :connection AND k.key = p.key)
FROM status_page p LEFT JOIN remote_status s ON s.connection = :connection AND s.container = p.container AND s.key = p.key
WHERE s.status IS NOT p.status OR (p.status = 'unsubscribed' AND s.ours IS NULL AND s.address <> p.address
  AND (p.hash IS NOT NULL OR p.address = (SELECT m.address FROM remote_status m WHERE m.connection = :connection
                                          AND m.container = '' AND m.key = p.key))
  AND NOT EXISTS (SELECT 1 FROM subscriber_key k CROSS JOIN record r ON r.person = k.person
    LEFT JOIN departed d ON d.record = r.id AND d.address = p.address AND d.own
    WHERE k.connection = :connection AND k.key = p.key AND (r.address = p.address OR d.address IS NOT NULL)))
OR (p.status = 'unsubscribed' AND p.at > coalesce(s.at, 0) AND (EXISTS (
  SELECT 1 FROM operation o CROSS JOIN object b ON b.id = o.object AND b.name = p.container CROSS JOIN batch t ON t.id = o.batch
  WHERE o.state = 3 AND o.kind = 'status' AND o.connection = :connection AND o.key = p.key
  AND o.payload->>0 = 'subscribed' AND t.sealed_at < p.at) OR EXISTS (
  SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
  WHERE e.address = coalesce(p.address, s.address) AND u.connection = :connection AND u.method = 'resubscribe'
  AND e.said_hi > coalesce(s.at, 0) AND e.said_hi <= p.at)
  OR :restored AND EXISTS (SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance AND u.baseline = 0
    AND instr(u.said, '"opt_in"')
  WHERE (e.address = coalesce(p.address, s.address) OR e.record IN (SELECT r.id FROM subscriber_key k
    CROSS JOIN record r ON r.person = k.person WHERE k.connection = :connection AND k.key = p.key))
  AND e.said_hi + :tolerance > coalesce(s.at, 0) AND e.said_hi - :tolerance <= p.at)))
ORDER BY p.n;

-- name: left_since
-- Opt-outs that stand where somebody came back, dated after that, and that nobody took down as they looked like the ones
-- before. What we wrote ourselves is none.
SELECT s.container, s.key, s.address, 'subscribed', s.status, s.at, s.origin, NULL,
  (SELECT k.person FROM subscriber_key k WHERE k.connection = :connection AND k.key = s.key)
FROM event_page p CROSS JOIN remote_status s ON s.connection = :connection AND s.address = p.address
  AND s.container IN ('', coalesce(p.container, '')) AND s.status = 'unsubscribed' AND s.at >= p.at
WHERE p.kind = 'resubscribe' AND s.origin <> 'self' AND (s.ours IS NULL OR s.origin NOT IN ('api', 'unknown'))
AND NOT EXISTS (SELECT 1 FROM event_seen e WHERE e.connection = :connection AND e.event = p.event)
AND NOT EXISTS (SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
  WHERE e.address = s.address AND e.said_hi = s.at AND u.connection = :connection)
ORDER BY p.n, s.id;

-- name: held_back
-- Addresses that this page newly tells to be held back for bounces, or not any more.
SELECT p.address FROM status_page p
LEFT JOIN remote_status s ON s.connection = :connection AND s.container = p.container AND s.key = p.key
WHERE p.container = '' AND p.status = 'held' AND p.address IS NOT NULL
AND (s.status IS NOT 'held' OR s.address IS NOT p.address)
UNION SELECT s.address FROM status_page p
CROSS JOIN remote_status s ON s.connection = :connection AND s.container = p.container AND s.key = p.key
WHERE p.container = '' AND s.status = 'held' AND s.address IS NOT NULL AND (p.status <> 'held' OR s.address IS NOT p.address);

-- name: undeliverable
-- An address that any connection holds back for bounces gets no mail, whatever the person wants.
UPDATE address SET undeliverable = CASE WHEN EXISTS (SELECT 1 FROM remote_status s WHERE s.address = :address
  AND s.container = '' AND s.status = 'held') THEN coalesce(undeliverable, :now) END WHERE id = :address;

-- name: dirty_by_key
INSERT OR IGNORE INTO dirty SELECT r.person FROM status_page p CROSS JOIN subscriber_key k
  ON k.connection = :connection AND k.key = p.key CROSS JOIN record r ON r.id = k.person
LEFT JOIN remote_status s ON s.connection = :connection AND s.container = p.container AND s.key = p.key
WHERE s.status IS NOT p.status;

-- name: dirty_by_address
INSERT OR IGNORE INTO dirty SELECT r.person FROM status_page p CROSS JOIN record r ON r.address = p.address
LEFT JOIN remote_status s ON s.connection = :connection AND s.container = p.container AND s.key = p.key
WHERE p.address IS NOT NULL AND (s.status IS NOT p.status OR s.address IS NOT p.address);

-- name: upsert
INSERT INTO remote_status (connection, container, key, address, status, at, origin, sweep)
SELECT :connection, container, key, address, status, at, origin, :sweep FROM status_page WHERE true ORDER BY n
ON CONFLICT (connection, container, key) DO UPDATE SET address = coalesce(excluded.address, remote_status.address),
  status = excluded.status, at = excluded.at, origin = excluded.origin, sweep = excluded.sweep,
  ours = CASE WHEN remote_status.status = excluded.status THEN remote_status.ours END
WHERE (remote_status.status, remote_status.address, remote_status.sweep)
  IS NOT (excluded.status, coalesce(excluded.address, remote_status.address), excluded.sweep)
OR (excluded.status = 'unsubscribed' AND excluded.at > coalesce(remote_status.at, 0));

-- name: new_events
SELECT p.event, p.kind, p.container, p.send, p.key, p.address, p.at, p.evidence,
  (SELECT k.person FROM subscriber_key k WHERE k.connection = :connection AND k.key = p.key)
FROM event_page p WHERE NOT EXISTS (SELECT 1 FROM event_seen e WHERE e.connection = :connection AND e.event = p.event)
ORDER BY p.n;

-- name: not_out
-- Which of these keys (each with the hash of its address, where it is told) were not out, or had another address.
SELECT j.value->>0 FROM json_each(:keys) j WHERE NOT EXISTS (SELECT 1 FROM remote_status s WHERE s.connection = :connection
  AND s.container = :container AND s.key = j.value->>0 AND s.status = 'unsubscribed'
  AND CASE WHEN j.value->>1 IS NULL THEN s.address IS coalesce((SELECT m.address FROM remote_status m
    WHERE m.connection = :connection AND m.container = '' AND m.key = s.key), s.address)
  ELSE s.address IS NULL OR j.value->>1 = (SELECT lower(hex(a.hash)) FROM address a WHERE a.id = s.address) END);

-- name: unseen_events
SELECT j.value FROM json_each(:events) j WHERE NOT EXISTS (SELECT 1 FROM event_seen e
  WHERE e.connection = :connection AND e.event = j.value);

-- name: event_seen
INSERT OR IGNORE INTO event_seen (connection, event, at) SELECT :connection, event, at FROM event_page;

-- name: mark_record
INSERT OR IGNORE INTO dirty SELECT person FROM record WHERE id = ?;

-- name: overrule
-- A fresh opt-out is written to the CRM even where somebody insisted on the opposite before.
DELETE FROM request WHERE record IN (SELECT o.id FROM record r CROSS JOIN record o ON o.person = r.person WHERE r.id = ?);

-- name: mark_address
INSERT OR IGNORE INTO dirty SELECT person FROM record WHERE address = ?;

-- name: person_of
SELECT person FROM record WHERE id = ?;

-- name: people_at
-- Whoever has the address, and who had it until lately: a row of theirs may still be there.
SELECT person FROM record WHERE address = :address
UNION SELECT r.person FROM departed d CROSS JOIN record r ON r.id = d.record WHERE d.address = :address;

-- name: undecided
-- Of those whom a page of events is about, by key or address, who waits to be decided.
SELECT person FROM dirty WHERE person IN (
  SELECT coalesce(r.person, k.person) FROM event_page p CROSS JOIN subscriber_key k ON k.connection = :connection AND k.key = p.key
  LEFT JOIN record r ON r.id = k.person
  UNION SELECT r.person FROM event_page p CROSS JOIN record r ON r.address = p.address
  UNION SELECT r.person FROM event_page p CROSS JOIN departed d ON d.address = p.address CROSS JOIN record r ON r.id = d.record);

-- name: bind_entry
-- As bind_by_address, for what must not wait: unless somebody who holds the address is just being identified.
UPDATE entry SET bound = coalesce(bound, 1), record = (SELECT min(r.person) FROM record r WHERE r.address = ? AND r.deleted = 0)
WHERE address = ? AND record IS NULL AND position > coalesce((SELECT value FROM meta WHERE name = 'bound_to'), 0)
AND (SELECT count(DISTINCT r.person) = 1 AND sum(r.id IN (SELECT record FROM dirty_record)) = 0
     FROM record r WHERE r.address = ? AND r.deleted = 0);

-- name: range
-- How many of the next statuses of a container there are, and the last of their keys.
SELECT count(*), coalesce(max(key), :after) FROM (SELECT key FROM remote_status
  WHERE connection = :connection AND container = :container AND key > :after ORDER BY key LIMIT :most);

-- name: dirty_vanished
INSERT OR IGNORE INTO dirty SELECT r.person FROM remote_status s CROSS JOIN record r ON r.address = s.address
WHERE s.connection = :connection AND s.container = :container AND s.key > :after AND s.key <= :upto AND s.sweep < :sweep
AND s.status <> 'removed';

-- name: dirty_vanished_key
INSERT OR IGNORE INTO dirty SELECT r.person FROM remote_status s CROSS JOIN subscriber_key k
  ON k.connection = s.connection AND k.key = s.key CROSS JOIN record r ON r.id = k.person
WHERE s.connection = :connection AND s.container = :container AND s.key > :after AND s.key <= :upto AND s.sweep < :sweep
AND s.status <> 'removed';

-- name: lacks
SELECT EXISTS (SELECT 1 FROM remote_status WHERE connection = :connection AND container = :container AND sweep < :sweep
  AND status <> 'removed');

-- name: shown
SELECT count(*) FROM remote_status WHERE connection = :connection AND container = :container AND sweep = :sweep;

-- name: held_back_vanished
SELECT DISTINCT address FROM remote_status WHERE connection = :connection AND container = :container
AND key > :after AND key <= :upto AND sweep < :sweep AND container = '' AND status = 'held' AND address IS NOT NULL;

-- name: vanish
UPDATE remote_status SET status = 'removed', origin = 'unknown'
WHERE connection = :connection AND container = :container AND key > :after AND key <= :upto AND sweep < :sweep
AND status <> 'removed';
