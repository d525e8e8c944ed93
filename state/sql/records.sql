-- name: next_id
-- Free for a record, and never one's before; and for its address.
SELECT 1 + max((SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'record'), (SELECT coalesce(max(id), 0) FROM address));

-- name: note_addresses
INSERT OR IGNORE INTO address_new (hash, address) SELECT hash, n FROM page
WHERE hash IS NOT NULL AND NOT EXISTS (SELECT 1 FROM address_key k WHERE k.hash = page.hash);

-- name: hold_addresses
-- Those that are there under another number: known before, or twice in the page.
UPDATE page SET held = (SELECT o.address FROM address_of o WHERE o.hash = page.hash) WHERE hash IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM address_new w WHERE w.hash = page.hash AND w.address = page.n);

-- name: add_addresses
INSERT INTO address (id, hash, email) SELECT n, hash, :email FROM page WHERE hash IS NOT NULL AND held IS NULL;

-- name: add_records
INSERT INTO record (id, stream, rid, person, address, modified, stamp, deleted, merged_into, sweep, first_seen)
SELECT record, :stream, rid, record, address, modified, modified, deleted, merged, :sweep, :now
FROM page WHERE true ON CONFLICT (stream, rid) DO NOTHING;

-- name: know_records
UPDATE page SET known = r.id FROM record r WHERE r.stream = :stream AND r.rid = page.rid AND r.id < :first;

-- name: dirty_moved
INSERT OR IGNORE INTO dirty SELECT r.person FROM moved m CROSS JOIN record r ON r.id = m.record;

-- name: dirty_moved_records
-- Only a change of address, life, merge or name can move a record to another person; and whether it raises a doubt about
-- those it shares a person with may hang on any field, where the source has a filter (:filtered).
INSERT OR IGNORE INTO dirty_record
SELECT p.record FROM page p CROSS JOIN record r ON r.id = p.record
WHERE p.fresh = 0 AND (((p.deleted = 0 OR p.address IS NOT NULL) AND r.address IS NOT p.address) OR r.deleted <> p.deleted
  OR r.merged_into IS NOT p.merged OR :renamed
  OR :filtered AND p.record IN (SELECT record FROM moved)
    AND EXISTS (SELECT 1 FROM record o WHERE o.person = r.person AND o.id <> r.id));

-- name: depart
INSERT INTO departed SELECT r.address, r.id, :now, 1 FROM page p CROSS JOIN record r ON r.id = p.record
WHERE p.fresh = 0 AND r.address IS NOT NULL AND r.deleted = 0 AND (p.deleted = 1 OR r.address IS NOT p.address)
ON CONFLICT (address, record) DO UPDATE SET until = excluded.until, own = 1;

-- name: depart_unseen
-- Merged before anybody read it: it had its address until then.
INSERT INTO departed SELECT p.address, p.record, :now, 1 FROM page p
WHERE p.fresh = 1 AND p.deleted = 1 AND p.merged IS NOT NULL AND p.address IS NOT NULL ON CONFLICT (address, record) DO NOTHING;

-- name: dirty_neighbours
-- Who comes to an address or leaves it is one person with whoever has it, or what each of them said concerns the others: none
-- of them is written about before that was decided. New ones that meet at an address are dirty anyhow.
INSERT OR IGNORE INTO dirty SELECT o.person FROM page p CROSS JOIN record r ON r.id = p.record
CROSS JOIN record o ON o.address IN (r.address, p.address) AND o.id <> r.id
WHERE (p.fresh AND p.held IS NOT NULL) OR p.fresh = 0 AND ((p.deleted = 0 OR p.address IS NOT NULL) AND r.address IS NOT p.address) OR r.deleted <> p.deleted;

-- name: dirty_departed
-- Who comes to an address may have refused: rows of whoever left it lately may still be there.
INSERT OR IGNORE INTO dirty SELECT o.person FROM (SELECT 1 FROM departed LIMIT 1) CROSS JOIN page p
CROSS JOIN record r ON r.id = p.record CROSS JOIN departed d ON d.address = p.address CROSS JOIN record o ON o.id = d.record
WHERE p.deleted = 0 AND (p.fresh OR r.deleted OR r.address IS NOT p.address);

-- name: dirty_holders
INSERT OR IGNORE INTO dirty SELECT person FROM record WHERE address = ?;

-- name: update_records
-- A deleted record keeps its last address: what was said under it still holds. The instant of change moves only
-- when something mapped did: among several records of a person the freshest gives the facts, and neither an unmapped field
-- nor a flag that we wrote ourselves is a fact.
UPDATE record SET
  address = CASE WHEN p.deleted THEN coalesce(p.address, record.address) ELSE p.address END,
  modified = CASE WHEN p.record IN (SELECT record FROM moved) THEN p.modified ELSE record.modified END,
  stamp = p.modified, deleted = p.deleted, merged_into = p.merged, sweep = :sweep
FROM page p WHERE p.record = record.id AND p.fresh = 0
AND ((record.address, record.deleted, record.merged_into, record.sweep, record.stamp)
  IS NOT (p.address, p.deleted, p.merged, :sweep, p.modified) OR p.record IN (SELECT record FROM moved));

-- name: moved_fresh
INSERT INTO moved SELECT record FROM page WHERE fresh = 1;

-- name: dirty_entangled
-- New records that share their address with others (nobody does where all of the page's are new), or were merged with some: who
-- they are is to be found out, as `entangled` of identify.sql has it. Asked of the records, not of ``dirty``: a neighbour may have
-- made them dirty already.
INSERT OR IGNORE INTO dirty_record SELECT p.record FROM page p WHERE p.fresh = 1 AND (p.merged IS NOT NULL
OR :shared AND EXISTS (SELECT 1 FROM record o WHERE o.address = p.address AND o.id <> p.record)
OR (SELECT EXISTS (SELECT 1 FROM record WHERE merged_into IS NOT NULL))
   AND EXISTS (SELECT 1 FROM record o WHERE o.merged_into = p.rid));

-- name: dirty_alone
-- All others are people of their own: nothing is left to identify.
INSERT OR IGNORE INTO dirty SELECT p.record FROM page p WHERE p.fresh = 1
AND NOT EXISTS (SELECT 1 FROM dirty_record t WHERE t.record = p.record);

-- name: dirty_person_of_record
INSERT OR IGNORE INTO dirty SELECT person FROM record WHERE id = ?;

-- name: advance
UPDATE stream SET cursor = :cursor, complete_at = coalesce(:complete, complete_at), error = NULL, anew = iif(:complete IS NULL, anew, 0)
WHERE id = :stream;

-- name: seen
UPDATE record SET sweep = :sweep WHERE stream = :stream AND rid IN (SELECT value FROM json_each(:ids));

-- name: strangers
SELECT j.value FROM json_each(?) j LEFT JOIN record r ON r.stream = ? AND r.rid = j.value
WHERE r.id IS NULL OR r.deleted = 1;

-- name: count_unseen
SELECT sum(sweep < ?), count(*) FROM record WHERE stream = ? AND deleted = 0;

-- name: dirty_unseen
INSERT OR IGNORE INTO dirty_record SELECT id FROM record
WHERE stream = :stream AND rid > :after AND rid <= :upto AND sweep < :sweep AND deleted = 0;

-- name: bury_unseen
UPDATE record SET deleted = 1
WHERE stream = :stream AND rid > :after AND rid <= :upto AND sweep < :sweep AND deleted = 0;

-- name: ask
INSERT INTO request (record, field, asked_at) VALUES (?, ?, ?)
ON CONFLICT (record, field) DO UPDATE SET asked_at = excluded.asked_at;

-- name: withdraw
DELETE FROM request WHERE record = ? AND field = ?;

-- name: doubtful
SELECT 1 FROM quarantine WHERE connection = :connection AND object = :object AND closed_at IS NULL LIMIT 1;

-- name: repaired
UPDATE quarantine SET closed_at = :now WHERE connection = :connection AND object = :object AND closed_at IS NULL
AND reason LIKE 'invalid%' AND key IN (SELECT rid FROM page)
AND (key, reason) NOT IN (SELECT value->>0, value->>1 FROM json_each(:still));

-- name: doubt
INSERT INTO quarantine (connection, object, key, reason, remedy, opened_at) VALUES (:connection, :object, :key, :reason,
  'correct the field in the CRM; the next poll takes it up', :now)
ON CONFLICT (connection, object, key, reason) DO UPDATE SET closed_at = NULL;

-- name: to_reread
SELECT r.rid, t.since FROM reread t CROSS JOIN record r ON r.id = t.record WHERE r.stream = ? ORDER BY t.since LIMIT ?;

-- name: reread
DELETE FROM reread WHERE record IN (SELECT r.id FROM json_each(:rids) j
  CROSS JOIN record r ON r.stream = :stream AND r.rid = j.value);

-- name: in_flight
SELECT o.record, o.columns, o.payload FROM operation o
WHERE o.state = 3 AND o.kind = 'update' AND o.record IN (SELECT record FROM page);
