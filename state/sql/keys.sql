-- name: survey
-- Of each connection: people with a key, of them with one that is not :value's, of those with a subscriber who was there before
-- us, people on their way to another key, and refusals that stand under the keys that would be left. Keys that differ in capital
-- letters are one: providers that do not tell them apart would have the old row removed, and with it the new one.
SELECT count(*), count(*) FILTER (WHERE lower(k.key) IS NOT lower(:value)),
  count(*) FILTER (WHERE lower(k.key) IS NOT lower(:value) AND k.existing),
  count(n.person), coalesce(sum(CASE WHEN lower(k.key) IS NOT lower(:value) THEN (SELECT count(*) FROM object b CROSS JOIN remote_status s
    ON s.connection = b.connection AND s.container = b.name AND s.key = k.key AND s.status = 'unsubscribed'
    WHERE b.connection = :connection AND b.kind = 'container') END), 0)
FROM attr a CROSS JOIN record r ON r.id = a.record
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = a.person AND k.until = 0
LEFT JOIN subscriber_key n ON n.connection = :connection AND n.person = a.person AND n.until = -1
WHERE a.address IS NOT NULL;

-- name: former
SELECT count(*) FROM subscriber_key WHERE connection = :connection AND until > 0;

-- name: without
SELECT count(*) FROM quarantine WHERE connection = :connection AND object = 'subscriber_key' AND closed_at IS NULL;

-- name: former_keys
SELECT key, until FROM subscriber_key WHERE connection = :connection AND until > 0 AND key > :after ORDER BY key LIMIT :limit;

-- name: upto
SELECT count(*), max(person) FROM (SELECT person FROM attr WHERE person > :after ORDER BY person LIMIT :limit);

-- name: next
-- A key that was this person's before is so again. One of somebody whose record is this person's by now (a merge) is taken
-- over, once nothing of that one is there or on its way.
INSERT INTO subscriber_key (connection, person, key, until)
SELECT :connection, a.person, :value, -1 FROM attr a CROSS JOIN record r ON r.id = a.record
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = a.person AND k.until = 0
LEFT JOIN subscriber_key n ON n.connection = :connection AND n.person = a.person AND n.until = -1
WHERE a.person > :after AND a.person <= :upto AND a.address IS NOT NULL AND n.person IS NULL AND lower(k.key) IS NOT lower(:value)
AND :value IS NOT NULL
ON CONFLICT (connection, key) DO UPDATE SET person = excluded.person, until = -1,
  lent = iif(subscriber_key.person = excluded.person, subscriber_key.lent, coalesce(subscriber_key.lent, subscriber_key.person))
WHERE subscriber_key.until > 0 AND subscriber_key.person = excluded.person
OR subscriber_key.person <> excluded.person
  AND (SELECT h.person FROM record h WHERE h.id = subscriber_key.person) = excluded.person
  AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.person = subscriber_key.person AND o.connection = :connection AND o.state < 10)
  AND NOT (:has_rows);

-- name: survive
-- Of people whose records were merged and had keys of their own: the key that stays is that of a subscriber the provider knows;
-- of several, that of the surviving record; then the oldest. One whose list tells of her is known, too: not every provider's
-- statuses of all mail tell of whom nothing was ever changed. A key of another is taken over as above, and is that one's still
-- when it is asked again which stays.
INSERT INTO subscriber_key (connection, person, key, until)
SELECT :connection, b.person, b.key, -1 FROM (
  SELECT c.person, k.key, k.person AS owner, row_number() OVER (PARTITION BY c.person ORDER BY
    EXISTS (SELECT 1 FROM remote_status s WHERE s.connection = :connection AND s.key = k.key AND s.status <> 'removed'
      AND s.container IN (SELECT name FROM object WHERE connection = :connection)) DESC,
    EXISTS (SELECT 1 FROM record l WHERE l.person = c.person AND l.rid = k.key AND l.merged_into IS NULL) DESC,
    o.merged_into IS NULL DESC, o.first_seen, o.rid) AS place
  FROM chunk c CROSS JOIN record r ON r.person = c.person
  CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = r.id AND k.until = 0
  CROSS JOIN record o ON o.id = coalesce(k.lent, k.person)
  WHERE c.records > 1 AND EXISTS (SELECT 1 FROM record m WHERE m.person = c.person AND m.merged_into IS NOT NULL)) b
WHERE b.place = 1 AND b.owner <> b.person
AND EXISTS (SELECT 1 FROM attr a WHERE a.person = b.person AND a.address IS NOT NULL)
AND EXISTS (SELECT 1 FROM subscriber_key k WHERE k.connection = :connection AND k.person = b.person AND k.until = 0
  AND lower(k.key) <> lower(b.key))
AND NOT EXISTS (SELECT 1 FROM subscriber_key n WHERE n.connection = :connection AND n.person = b.person AND n.until = -1)
ON CONFLICT (connection, key) DO UPDATE SET person = excluded.person, until = -1,
  lent = coalesce(subscriber_key.lent, subscriber_key.person)
WHERE NOT EXISTS (SELECT 1 FROM operation o WHERE o.person = subscriber_key.person AND o.connection = :connection AND o.state < 10)
  AND NOT (:has_rows);

-- name: lent
-- Of records that parted from a person who was to use their own key, or does, since they were merged: connection, key, that
-- person, whose it is now. An address is the key of whoever is left at it. What is in flight under the key would come back to
-- the wrong one: it stays as it is then. Who uses a key keeps that, unless its record was merged into another and nothing of
-- hers is there or on its way.
SELECT k.connection, k.key, k.person, r.person FROM parted p CROSS JOIN record r ON r.id = p.record
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = p.was AND (k.lent = p.record
  OR k.lent IS NULL AND lower(k.key) = (SELECT email FROM address WHERE id = r.address)
    AND NOT EXISTS (SELECT 1 FROM record o WHERE o.person = p.was AND o.address = r.address AND o.deleted = 0))
WHERE r.person <> p.was AND (r.deleted = 0 OR r.merged_into IS NOT NULL)
AND NOT EXISTS (SELECT 1 FROM subscriber_key CROSS JOIN record h ON h.id = coalesce(lent, subscriber_key.person)
  WHERE connection = :connection AND subscriber_key.person = r.person AND until <= 0
  AND (until < 0 OR r.deleted OR h.merged_into IS NULL OR :has_rows OR EXISTS (
    SELECT 1 FROM operation o WHERE o.person = r.person AND o.connection = :connection AND o.state < 10)))
AND NOT EXISTS (SELECT 1 FROM in_flight o WHERE o.person = k.person AND o.connection = k.connection AND o.key = k.key);

-- name: hand_back
UPDATE subscriber_key SET person = :owner, until = 0, lent = nullif(lent, :owner) WHERE connection = :connection AND key = :key;

-- name: use_again
UPDATE subscriber_key SET until = 0 WHERE connection = :connection AND person = :user
AND NOT EXISTS (SELECT 1 FROM subscriber_key o WHERE o.connection = :connection AND o.person = :user AND o.until = 0)
AND until = (SELECT max(f.until) FROM subscriber_key f WHERE f.connection = :connection AND f.person = :user AND f.until > 0);

-- name: dirty_next
INSERT OR IGNORE INTO dirty SELECT person FROM subscriber_key WHERE connection = :connection AND until = -1
AND person > :after AND person <= :upto;

-- name: stop
DELETE FROM subscriber_key WHERE connection = :connection AND until = -1;

-- name: moving
SELECT DISTINCT connection FROM subscriber_key WHERE until = -1;

-- name: left_behind
SELECT DISTINCT object FROM foreign_row WHERE former = 1;

-- name: left_upto
SELECT count(*), max(id) FROM (SELECT id FROM foreign_row WHERE former = 1 AND object = :object AND id > :after ORDER BY id LIMIT :limit);

-- name: dirty_left_behind
-- Not when the row is acknowledged: what else goes out for the person in the same cycle would have to be planned again.
INSERT OR IGNORE INTO dirty SELECT k.person FROM foreign_row f CROSS JOIN object b ON b.id = f.object
CROSS JOIN subscriber_key k ON k.connection = b.connection AND k.key = f.key
WHERE f.former = 1 AND f.object = :object AND f.id > :after AND f.id <= :upto AND NOT EXISTS (SELECT 1 FROM operation o
  WHERE o.person = k.person AND o.object = f.object AND o.record = f.id AND o.state < 12);

-- name: ready
-- Whoever moves and has nothing left to be decided, sent or answered. proven = nothing has to be read back first.
SELECT n.person, n.key, NOT EXISTS (SELECT 1 FROM object b CROSS JOIN remote_status s
    ON s.connection = b.connection AND s.container = b.name AND s.key = n.key AND s.status = 'unsubscribed'
    WHERE b.connection = :connection AND b.kind = 'container') AS proven
FROM subscriber_key n INDEXED BY subscriber_key_next CROSS JOIN attr a ON a.person = n.person
WHERE n.connection = :connection AND n.until = -1 AND n.person > :after
AND (:people IS NULL OR n.person IN (SELECT value FROM json_each(:people)))
AND NOT EXISTS (SELECT 1 FROM dirty d WHERE d.person = n.person)
AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.person = n.person)
AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.person = n.person AND o.connection = :connection AND o.state < 10)
AND NOT EXISTS (SELECT 1 FROM record r CROSS JOIN dirty_record t ON t.record = r.id WHERE r.person = n.person)
AND NOT EXISTS (SELECT 1 FROM subscriber_key k CROSS JOIN object b ON b.connection = :connection AND b.kind = 'container'
  CROSS JOIN remote_status s ON s.connection = :connection AND s.container = b.name AND s.key = k.key
    AND s.status = 'unsubscribed'
  LEFT JOIN remote_status t ON t.connection = :connection AND t.container = b.name AND t.key = n.key
  WHERE k.connection = :connection AND k.person = n.person AND k.until = 0 AND t.status IS NOT 'unsubscribed')
ORDER BY n.person LIMIT :limit;

-- name: refused
SELECT s.container, s.key FROM json_each(:keys) j CROSS JOIN object b ON b.connection = :connection AND b.kind = 'container'
CROSS JOIN remote_status s ON s.connection = b.connection AND s.container = b.name AND s.key = j.value
  AND s.status = 'unsubscribed';

-- name: not_there
UPDATE remote_status SET status = 'removed', origin = 'unknown' WHERE connection = :connection AND container = :container
AND status = 'unsubscribed' AND key IN (SELECT value FROM json_each(:keys));

-- name: dirty_keys
INSERT OR IGNORE INTO dirty SELECT person FROM subscriber_key
WHERE connection = :connection AND key IN (SELECT value FROM json_each(:keys));

-- name: give_up
-- No two of a person's at one instant: who moves on at once gave the key between up a moment later.
UPDATE subscriber_key SET until = max(:now, 1 + (SELECT max(o.until) FROM subscriber_key o
  WHERE o.connection = subscriber_key.connection AND o.person = subscriber_key.person)) WHERE connection = :connection AND until = 0
AND person IN (SELECT value FROM json_each(:people));

-- name: take_up
UPDATE subscriber_key SET until = 0 WHERE connection = :connection AND until = -1
AND person IN (SELECT value FROM json_each(:people));

-- name: dirty_people
INSERT OR IGNORE INTO dirty SELECT value FROM json_each(:people);
