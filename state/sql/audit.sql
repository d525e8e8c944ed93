-- Every query is about the people in :people, a JSON list of at most a few hundred ids.

-- name: sample
-- Whoever became part of somebody else is looked at with that one.
SELECT person FROM decision WHERE NOT EXISTS (SELECT 1 FROM record r WHERE r.id = decision.person AND r.person <> r.id)
ORDER BY random() LIMIT :count;

-- name: next
SELECT person FROM decision WHERE person > :after
AND NOT EXISTS (SELECT 1 FROM record r WHERE r.id = decision.person AND r.person <> r.id) ORDER BY person LIMIT :count;

-- name: people
SELECT count(*) FROM decision;

-- name: keys
-- Theirs, and of whoever became part of them. former = given up by one or the other: nobody is opened again under it.
SELECT k.person, k.key, k.until > 0 AS former FROM json_each(:people) j
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = j.value
UNION ALL SELECT r.person, k.key, 1 FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value AND r.id <> r.person
CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = r.id;

-- name: addresses
SELECT DISTINCT r.person, a.email, a.id FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value AND r.deleted = 0
CROSS JOIN address a ON a.id = r.address AND a.email IS NOT NULL;

-- name: records
SELECT r.person, r.id, r.rid, r.address FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value
AND r.stream = :stream AND r.deleted = 0 AND r.merged_into IS NULL AND r.forgotten IS NULL;

-- name: under_way
-- What is being written, waits for a turn or for an approval, or will be looked at again anyway.
SELECT o.person, o.object, o.record FROM json_each(:people) j CROSS JOIN operation o ON o.person = j.value AND o.state <= 3
UNION ALL SELECT r.person, o.object, o.record FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value
  AND r.id <> r.person CROSS JOIN operation o ON o.person = r.id AND o.state <= 3
UNION ALL SELECT d.person, NULL, 0 FROM json_each(:people) j CROSS JOIN dirty d ON d.person = j.value;

-- name: insisted
-- Flags that somebody set back after they had been re-asserted: reported, and left to a person.
SELECT q.record, q.field FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value
CROSS JOIN request q ON q.record = r.id AND q.reasserted > 0;

-- name: echoes
SELECT q.record, q.field FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value
CROSS JOIN echo q ON q.record = r.id;

-- name: written
-- What we wrote to fields of their records, the last of each field at last. A refusal that stands there because we could not
-- take it back is nobody's new one.
SELECT o.record, c.value, json_extract(o.payload, '$[' || c.key || ']') FROM json_each(:people) j
CROSS JOIN record r ON r.person = j.value CROSS JOIN operation o ON o.person = r.id AND o.kind = 'update' AND o.state = 10
CROSS JOIN json_each(o.columns) c ORDER BY o.id;

-- name: refused_at
-- Whether the ledger holds an opt-out that came from a connection, for this record's person or this address.
SELECT EXISTS (SELECT 1 FROM record r CROSS JOIN record o ON o.person = r.person CROSS JOIN entry e ON e.record = o.id
  CROSS JOIN utterance u ON u.id = e.utterance
  WHERE r.id = :record AND u.connection = :connection AND instr(u.said, '"opt_out"'))
OR EXISTS (SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance
  WHERE e.address = :address AND u.connection = :connection AND instr(u.said, '"opt_out"'));

-- name: ours
-- Whether a stop that stands under a key is of our own making: written here, or, where no origin speaks against it, all mail
-- at another connection of the account (:sisters), which stood there at the same time.
SELECT EXISTS (SELECT 1 FROM remote_status WHERE connection = :connection AND container = :container AND key = :key
  AND ours IS NOT NULL)
OR (:container = '' AND :origin IN ('api', 'unknown', 'self') AND EXISTS (
  SELECT 1 FROM json_each(:sisters) j CROSS JOIN remote_status s ON s.connection = j.value AND s.container = '' AND s.key = :key
  WHERE s.status = 'unsubscribed' AND s.ours IS NOT NULL AND coalesce(abs(s.at - :at) <= 600000000, 1)));

-- name: subscriber
SELECT s.address, (SELECT k.person FROM subscriber_key k WHERE k.connection = s.connection AND k.key = s.key)
FROM remote_status s WHERE s.connection = :connection AND s.container = :container AND s.key = :key;

-- name: dirty
INSERT OR IGNORE INTO dirty VALUES (?);
