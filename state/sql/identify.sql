-- name: take
INSERT INTO turn SELECT record FROM dirty_record ORDER BY record LIMIT ?;

-- name: dirty_turn
INSERT OR IGNORE INTO dirty SELECT r.person FROM turn t CROSS JOIN record r ON r.id = t.record;

-- name: entangled
-- Records that have, or had, company: all others are a person of their own already.
SELECT t.record FROM turn t CROSS JOIN record r ON r.id = t.record
WHERE (:by_address AND r.address IS NOT NULL
       AND EXISTS (SELECT 1 FROM record o WHERE o.address = r.address AND o.id <> r.id))
   OR r.merged_into IS NOT NULL
   OR r.person <> r.id
   OR EXISTS (SELECT 1 FROM record o WHERE o.person = r.person AND o.id <> r.id)
   OR EXISTS (SELECT 1 FROM record o WHERE o.merged_into = r.rid);

-- name: record
-- silent: it raises no doubt about who somebody is. Who was forgotten has no name any more.
SELECT person, stream, rid, address, merged_into, deleted OR forgotten IS NOT NULL AS silent FROM record WHERE id = ?;

-- name: same_address
SELECT id FROM record WHERE address = ?;

-- name: by_rid
SELECT id FROM record WHERE stream = ? AND rid = ?;

-- name: absorbed_by
SELECT id, stream FROM record WHERE merged_into = ?;

-- name: of_person
SELECT id FROM record WHERE person = ?;

-- name: assign
UPDATE record SET person = ?, joined = CASE WHEN ? THEN 0 ELSE (SELECT coalesce(max(position), 0) FROM chain) END
WHERE id = ?;

-- name: dirty
INSERT OR IGNORE INTO dirty VALUES (?);

-- name: ambiguous
INSERT INTO ambiguous VALUES (?, ?, ?) ON CONFLICT (person) DO UPDATE SET reason = excluded.reason;

-- name: clear
DELETE FROM ambiguous WHERE person = ?;

-- name: dirty_range
-- How many of the next dirty people there are, and the last of them.
SELECT count(*), coalesce(max(person), :after) FROM (SELECT person FROM dirty WHERE person > :after ORDER BY person LIMIT :most);

-- name: dirty_former
-- Records that were people of their own before they were joined with others may have left something under way.
INSERT OR IGNORE INTO dirty SELECT r.id FROM (SELECT 1 FROM operation LIMIT 1)   -- at a first link there is none
CROSS JOIN dirty d CROSS JOIN record r ON r.person = d.person
WHERE d.person > :after AND d.person <= :upto AND r.id <> r.person AND EXISTS (SELECT 1 FROM operation o WHERE o.person = r.id);

-- name: dirty_sharers
-- Where several people may hold one address, what is new about one, wherever it was said, concerns the others.
INSERT OR IGNORE INTO dirty SELECT o.person
FROM (SELECT DISTINCT r.address FROM dirty d CROSS JOIN record r ON r.person = d.person AND r.address IS NOT NULL
  WHERE d.person > :after AND d.person <= :upto) a
CROSS JOIN record o ON o.address = a.address;

-- name: concerned
-- Whom the news about some people concerns: as dirty_sharers (:separate) and dirty_former have it.
SELECT o.person FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value AND r.address IS NOT NULL
CROSS JOIN record o ON o.address = r.address WHERE :separate
UNION SELECT r.id FROM json_each(:people) j CROSS JOIN record r ON r.person = j.value AND r.id <> r.person
WHERE EXISTS (SELECT 1 FROM operation o WHERE o.person = r.id);

-- name: part
INSERT OR REPLACE INTO parted SELECT id, person, joined FROM record WHERE id = ?;

-- name: said_together
-- Refusals that name no record (they came under a subscriber key or an address, or an admin recorded them), said about a
-- person while a record that parts was part of it.
SELECT r.id, r.rid, r.address FROM parted p CROSS JOIN record r ON r.id = p.record AND r.stream = :stream
CROSS JOIN decision d ON d.person = p.was
WHERE EXISTS (SELECT 1 FROM record o CROSS JOIN entry e ON e.record = o.id CROSS JOIN utterance u ON u.id = e.utterance
  WHERE o.id IN (SELECT id FROM record WHERE person = p.was UNION ALL SELECT record FROM parted WHERE was = p.was)
  AND o.person <> r.person AND e.position > p.joined AND (:code OR e.position > d.position)
  AND (e.key IS NOT NULL OR e.bound IS NOT NULL OR u.source = 'admin') AND instr(u.said, :words) > 0);

-- name: own_refusal
-- Whether another witness tells what is written on a record r that parts: a refusal on a record of the person r is now, said
-- before the person it parts from (p.was) was last decided, where nothing said until then on any record of that one may be the
-- coming back. What was said since then meets that refusal.
EXISTS (SELECT 1 FROM record h CROSS JOIN entry e ON e.record = h.id CROSS JOIN utterance u ON u.id = e.utterance
  WHERE h.person = r.person AND e.position <= d.position AND u.said IN (SELECT value FROM json_each(:words))
  AND u.channel = 'email' AND u.unit IS NULL AND e.retracts IS NULL
  AND NOT EXISTS (SELECT 1 FROM entry x WHERE x.record = h.id AND x.retracts = e.position)
  AND NOT EXISTS (SELECT 1 FROM entry o CROSS JOIN utterance v ON v.id = o.utterance
    WHERE o.record IN (SELECT id FROM record WHERE person = p.was UNION ALL SELECT record FROM parted WHERE was = p.was)
    AND o.position <= d.position AND instr(v.said, '"opt_in"') > 0
    AND (o.position > e.position OR o.said_hi >= coalesce(e.said_lo, 0))));

-- name: part_rest
-- Those that stay with the person have parted, too.
INSERT OR IGNORE INTO parted SELECT r.id, p.was, max(r.joined, min(p.joined)) FROM parted p
CROSS JOIN record r ON r.person = p.was GROUP BY r.id;

-- name: depart
-- Of people who were one, each leaves the others' addresses.
INSERT INTO departed SELECT DISTINCT a.address, b.person, :now, 0
FROM (SELECT DISTINCT p.was, r.address FROM parted p CROSS JOIN record r ON r.id = p.record WHERE r.address IS NOT NULL) a
CROSS JOIN (SELECT DISTINCT p.was, r.person FROM parted p CROSS JOIN record r ON r.id = p.record) b ON b.was = a.was
WHERE NOT EXISTS (SELECT 1 FROM record o WHERE +o.address = a.address AND o.person = b.person)
ON CONFLICT (address, record) DO NOTHING;

-- name: range
-- How many of the next records there are, and the last of them.
SELECT count(*), coalesce(max(id), :after) FROM (SELECT id FROM record WHERE id > :after ORDER BY id LIMIT :most);

-- name: dirty_records
INSERT OR IGNORE INTO dirty_record SELECT id FROM record WHERE id > :after AND id <= :upto;

-- name: done
DELETE FROM dirty_record WHERE record IN (SELECT record FROM turn);
