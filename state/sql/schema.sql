-- The state as of migration m001. Tables named rec_*, attr, decision and target_* follow the mapping (state/relations.py).

CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

CREATE TABLE connection (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,                -- crm | esp
  approved_at INTEGER,               -- µs: its first plan was approved; NULL = nothing may be written there
  account TEXT,                      -- what the vendor calls the account that all of this is about; '' = it does not tell
  place TEXT,                        -- where that account was reached last
  elsewhere TEXT                     -- another account that the connection led to instead, which nobody accepted
) STRICT;

-- What a connection described when it was last asked: a cold start need not ask about every object again.
CREATE TABLE catalogue (
  connection INTEGER PRIMARY KEY REFERENCES connection,
  mapped TEXT NOT NULL,              -- digest of the objects and fields that were asked for
  account TEXT NOT NULL,             -- digest of settings and credentials, and of the release that asked
  at INTEGER NOT NULL,               -- µs
  objects TEXT NOT NULL,             -- JSON: the mapped objects with their mapped fields
  notes TEXT NOT NULL                -- what the connector itself wants to know again
) STRICT;

CREATE TABLE stream (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL REFERENCES connection,
  object TEXT NOT NULL,
  kind TEXT NOT NULL,
  fields TEXT NOT NULL DEFAULT '',   -- the fields the cursor was made with; others = read from the start
  consent INTEGER NOT NULL DEFAULT 0,
  cursor TEXT,
  sweep INTEGER NOT NULL DEFAULT 0,  -- number of the current full listing
  full_at INTEGER,                   -- µs: end of the last complete listing
  complete_at INTEGER,               -- µs: when it was last read to its end
  anew INTEGER NOT NULL DEFAULT 0,   -- 1 = records are read from the start since the mapping asks for other fields
  restored INTEGER NOT NULL DEFAULT 0, -- 1 = what is known of it is as old as a restored backup, until it was listed
  error TEXT,                        -- why the last reading failed, a code
  UNIQUE (connection, object, kind)
) STRICT;

CREATE TABLE address (
  id INTEGER PRIMARY KEY,
  hash BLOB NOT NULL,                -- keyed hash of the normalised address; survives `forget`
  email TEXT,                        -- the normalised address; erasable
  undeliverable INTEGER,             -- µs since when mail bounces; never an opt-out
  forgotten INTEGER                  -- µs since when only the hash is known, and nothing about who comes with it is kept
) STRICT;
CREATE INDEX address_forgotten ON address (forgotten) WHERE forgotten IS NOT NULL;
-- Which address has a hash. Hashes come in no order, so every new one touches a page of its own in a big table: they gather in
-- the writer's memory, and move on many at a time (state/addresses.py).
CREATE TABLE address_key (hash BLOB PRIMARY KEY, address INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- For whoever has not that memory: those that are still to move are looked through.
CREATE VIEW address_of AS SELECT hash, address FROM address_key
  UNION ALL SELECT hash, id FROM address WHERE id > coalesce((SELECT value FROM meta WHERE name = 'addresses_moved'), 0);

-- A person is a connected component of records and carries the id of the record first seen in it.
CREATE TABLE record (
  id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: what was said after its person was forgotten still names it
  stream INTEGER NOT NULL REFERENCES stream,
  rid TEXT NOT NULL,
  person INTEGER NOT NULL,
  address INTEGER,                   -- of those, too, yet no REFERENCES: asked for each row, it would take a third of its time
  modified INTEGER,
  stamp INTEGER,                     -- the vendor's instant of last change as last read, whatever changed
  deleted INTEGER NOT NULL DEFAULT 0,
  merged_into TEXT,
  joined INTEGER NOT NULL DEFAULT 0, -- the ledger's end when a merge, not an address, made it part of its person
  sweep INTEGER NOT NULL DEFAULT 0,
  first_seen INTEGER NOT NULL,
  forgotten INTEGER,                 -- µs since when nothing but its id, address hash and consent fields is kept
  UNIQUE (stream, rid)
) STRICT;
CREATE INDEX record_forgotten ON record (forgotten) WHERE forgotten IS NOT NULL;
CREATE INDEX record_person ON record (person, stream, deleted);
CREATE INDEX record_address ON record (address) WHERE address IS NOT NULL;
CREATE INDEX record_merged ON record (merged_into) WHERE merged_into IS NOT NULL;

-- Who had an address until lately: what was said under it before is theirs, though it is heard later. Or whose person had it,
-- by a record that has parted: what was said under it went with that, but a row of theirs may still be there.
CREATE TABLE departed (
  address INTEGER NOT NULL REFERENCES address,
  record INTEGER NOT NULL REFERENCES record,
  until INTEGER NOT NULL,            -- µs when it was read that the record, or its person, has it no longer
  own INTEGER NOT NULL,              -- 1 = the record had it, 0 = another record of its person had
  PRIMARY KEY (address, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX departed_record ON departed (record);
CREATE INDEX departed_until ON departed (until);

CREATE TABLE dirty_record (record INTEGER PRIMARY KEY) STRICT;
CREATE TABLE dirty (person INTEGER PRIMARY KEY) STRICT;
CREATE TABLE waiting (person INTEGER PRIMARY KEY) STRICT;   -- dirty again once what is in flight has resolved
CREATE TABLE put_off (person INTEGER PRIMARY KEY) STRICT;   -- dirty again once all of the mapping can be read
CREATE TABLE ambiguous (person INTEGER PRIMARY KEY, reason TEXT NOT NULL, since INTEGER NOT NULL) STRICT;

-- Consent. An entry's commitment is chained for ever; its personal part (everything below the line) can be erased.
CREATE TABLE utterance (
  id INTEGER PRIMARY KEY,
  connection INTEGER,
  source TEXT NOT NULL,              -- "sf.Contact", "mc_main", "admin"
  channel TEXT NOT NULL,
  purpose TEXT NOT NULL,
  basis TEXT,                        -- lawful basis
  method TEXT NOT NULL,
  person_made INTEGER NOT NULL,
  unit TEXT,                         -- business unit or brand
  baseline INTEGER NOT NULL,
  said TEXT NOT NULL                 -- JSON: [[level, topic, state, [except…]], …]
) STRICT;
CREATE TABLE entry (
  position INTEGER PRIMARY KEY,
  commitment BLOB NOT NULL,          -- H(salt, canonical entry)
  -- ---- the erasable part
  salt BLOB,
  utterance INTEGER,                 -- what was said, how and where
  record INTEGER,                    -- whose statement it is; NULL = known by address only
  address INTEGER,
  key TEXT,                          -- subscriber key it arrived under
  bound INTEGER,                     -- what was found later and so is not in the commitment: 1 = the record, by the
                                     -- address; 2 = the address, by the key (and perhaps then the record)
  said_lo INTEGER,
  said_hi INTEGER,
  seen_at INTEGER,
  knowledge INTEGER,
  retracts INTEGER,
  evidence TEXT
) STRICT;
-- One row per append: the chain over everything up to that position.
CREATE TABLE chain (position INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE INDEX entry_record ON entry (record) WHERE record IS NOT NULL;
CREATE INDEX entry_address ON entry (address, record) WHERE address IS NOT NULL;
CREATE INDEX entry_unbound ON entry (key) WHERE record IS NULL AND key IS NOT NULL;

-- Imported opt-outs of addresses that are known by their SHA-256 only: each new address is looked up here once.
CREATE TABLE digest (
  digest BLOB NOT NULL,              -- SHA-256 or MD5, told apart by their length
  utterance INTEGER NOT NULL,
  evidence TEXT,
  imported_at INTEGER NOT NULL,      -- µs: what the list says was said until then
  PRIMARY KEY (digest, utterance)
) STRICT, WITHOUT ROWID;

-- What each ESP (or blacklist) says now, per container and key.
CREATE TABLE remote_status (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL REFERENCES connection,
  container TEXT NOT NULL,           -- '' = all mail
  key TEXT NOT NULL,                 -- 'address:…' = of an address alone, no subscriber's
  address INTEGER REFERENCES address,
  status TEXT NOT NULL,
  at INTEGER,
  origin TEXT NOT NULL,
  ours INTEGER,                      -- the operation of ours that set this status; NULL = somebody else did
  sweep INTEGER NOT NULL DEFAULT 0,
  UNIQUE (connection, container, key)
) STRICT;
CREATE INDEX remote_status_address ON remote_status (address) WHERE address IS NOT NULL;
CREATE INDEX remote_status_blocked ON remote_status (connection, key, container) WHERE status = 'unsubscribed';

CREATE TABLE event_seen (connection INTEGER NOT NULL, event TEXT NOT NULL, at INTEGER, PRIMARY KEY (connection, event))
  STRICT, WITHOUT ROWID;

-- What the sends were from which people unsubscribe.
CREATE TABLE send (
  connection INTEGER NOT NULL REFERENCES connection,
  send TEXT NOT NULL,                -- as events name it
  name TEXT,
  definition TEXT,                   -- the name of what it was started from
  containers TEXT,                   -- choices: the lists it went through
  audiences TEXT,                    -- choices: the audiences it went to
  classification TEXT,               -- commercial | transactional
  at INTEGER,
  PRIMARY KEY (connection, send)
) STRICT, WITHOUT ROWID;

-- What a connection's lists, audiences and sends stand for by the mapping, and by those before it: a mail keeps its meaning.
CREATE TABLE stood_for (
  connection INTEGER NOT NULL REFERENCES connection,
  until INTEGER NOT NULL,            -- µs when the mapping came to say otherwise; 0 = it says so now
  content TEXT NOT NULL,             -- JSON (syncd/sends.py)
  PRIMARY KEY (connection, until)
) STRICT, WITHOUT ROWID;

-- What webhooks brought: stored before it is acknowledged, looked up and spoken into the ledger afterwards.
CREATE TABLE inbox (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL REFERENCES connection,
  digest BLOB NOT NULL,              -- of the delivery as it came: the same one counts once
  notices TEXT,                      -- JSON: one list per event (state/inbox.py); NULL once resolved
  received_at INTEGER NOT NULL,
  resolved_at INTEGER,
  UNIQUE (connection, digest)
) STRICT;
CREATE INDEX inbox_waiting ON inbox (connection, id) WHERE resolved_at IS NULL;

-- A person's keys at a destination. What comes back under any of them is the person's.
CREATE TABLE subscriber_key (
  connection INTEGER NOT NULL REFERENCES connection,
  person INTEGER NOT NULL,
  key TEXT NOT NULL,
  until INTEGER NOT NULL DEFAULT 0,      -- 0 = in use; -1 = to come, once every refusal is under it; else µs: given up then
  existing INTEGER NOT NULL DEFAULT 0,   -- the subscriber was there before us
  lent INTEGER,                          -- the record whose own it is, unless that is the one the person is called after
  PRIMARY KEY (connection, person, until),
  UNIQUE (connection, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscriber_key_next ON subscriber_key (connection, person) WHERE until = -1;

-- Remote objects we write: audiences, containers, CRM objects.
CREATE TABLE object (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL REFERENCES connection,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,                -- audience | container | record
  created_at INTEGER,                -- µs: the remote object is known to exist
  cleared_at INTEGER,                -- µs: what an audience held before us is gone, as the mapping asked
  UNIQUE (connection, name, kind)
) STRICT;

-- Rows of an audience that we did not write, and rows of ours that somebody removed there.
CREATE TABLE foreign_row (
  id INTEGER PRIMARY KEY,
  object INTEGER NOT NULL,
  key TEXT NOT NULL,
  address INTEGER,
  sweep INTEGER NOT NULL,
  former INTEGER NOT NULL DEFAULT 0,     -- 1 = ours, left behind under a key that its person has given up
  UNIQUE (object, key)
) STRICT;
CREATE INDEX foreign_row_address ON foreign_row (address) WHERE address IS NOT NULL;
CREATE INDEX foreign_row_former ON foreign_row (object) WHERE former = 1;
CREATE TABLE judging (               -- foreign rows at addresses that nobody may have any more: what was said there decides
  row INTEGER PRIMARY KEY
) STRICT;
CREATE TABLE vanished (
  object INTEGER NOT NULL,
  person INTEGER NOT NULL,
  since INTEGER NOT NULL,
  accepted INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (object, person)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  trigger TEXT NOT NULL,             -- once | daemon | plan | apply | resync | webhook
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT,
  mapping TEXT,
  counts TEXT,                       -- JSON
  quiet INTEGER NOT NULL DEFAULT 0   -- 1 = nobody said or got anything: not remembered for long
) STRICT;
CREATE INDEX run_quiet ON run (started_at) WHERE quiet = 1;

CREATE TABLE batch (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL REFERENCES connection,
  object INTEGER NOT NULL REFERENCES object,
  kind TEXT NOT NULL,
  columns TEXT NOT NULL,             -- JSON list, as sent
  state TEXT NOT NULL,               -- sealed | accepted | unknown | closed
  request_id TEXT,
  sealed_at INTEGER NOT NULL,
  ask_at INTEGER                     -- µs: when to ask after the request again
) STRICT;
CREATE INDEX batch_open ON batch (connection, state) WHERE state <> 'closed';

-- The outbox while open, the history once closed.
CREATE TABLE operation (
  id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: a plan covers the operations up to its last id
  connection INTEGER NOT NULL,
  object INTEGER NOT NULL,
  kind TEXT NOT NULL,                -- upsert | remove | status | update
  class INTEGER NOT NULL,            -- 0 suppression, 1 can make someone mailable, 2 neither
  person INTEGER NOT NULL,
  record INTEGER NOT NULL DEFAULT 0, -- CRM record for updates
  key TEXT NOT NULL,
  address INTEGER,
  columns TEXT NOT NULL,             -- JSON list
  payload TEXT,                      -- JSON list of values; NULL once a create is done (its run tells)
  before TEXT,                       -- JSON list of the values before; NULL = there was nothing
  stamp INTEGER,                     -- the CRM record's stamp when it was sealed
  permit INTEGER,                    -- ledger position that permits (class 1) or demands (class 0) it
  depends_on INTEGER,
  state INTEGER NOT NULL,            -- -1 as its parcel | 0 planned 1 held 2 queued (see lane) 3 sealed | 10 done
                                     -- 11 rejected 12 dropped
  hold INTEGER,
  batch INTEGER,
  max_batch INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  not_before INTEGER,
  reason TEXT,
  run INTEGER NOT NULL,
  closed_at INTEGER
) STRICT;
CREATE UNIQUE INDEX operation_wish ON operation (object, person, record) WHERE state < 3;
CREATE INDEX operation_lane ON operation (connection, class, id) WHERE state = 2;
CREATE INDEX operation_put_off ON operation (connection, not_before) WHERE state = 2 AND not_before IS NOT NULL;
CREATE INDEX operation_batch ON operation (batch) WHERE state = 3;
CREATE INDEX operation_guarded ON operation (state, object, kind, class) WHERE state IN (0, 1);
CREATE INDEX operation_person ON operation (person);

-- Rows of a first plan: operations in the state -1 between two ids, all of them queued, or all sealed in one batch.
CREATE TABLE parcel (
  first INTEGER PRIMARY KEY,         -- no two have an operation in common
  last INTEGER NOT NULL,
  connection INTEGER NOT NULL,
  object INTEGER NOT NULL,
  columns TEXT NOT NULL,             -- JSON list
  batch INTEGER                      -- NULL = queued
) STRICT;
CREATE INDEX parcel_batch ON parcel (batch) WHERE batch IS NOT NULL;

-- Everything that is queued, in parcels or not.
CREATE VIEW queued AS SELECT id, connection, object, class, run, not_before FROM operation WHERE state = 2
UNION ALL SELECT o.id, l.connection, l.object, o.class, o.run, o.not_before
FROM parcel l CROSS JOIN operation o ON o.id BETWEEN l.first AND l.last AND o.state = -1 WHERE l.batch IS NULL;

-- Everything that is with a provider, in parcels or not.
CREATE VIEW in_flight AS SELECT * FROM operation o WHERE o.state = 3
OR (o.state = -1 AND EXISTS (SELECT 1 FROM parcel l WHERE l.batch IS NOT NULL AND o.id BETWEEN l.first AND l.last));

-- What may be sent, parcels aside. Where nothing was ever approved the lane is shut: what is queued there waits for the first
-- plan's verdict.
CREATE VIEW lane AS SELECT * FROM operation
WHERE state = 2 AND connection IN (SELECT id FROM connection WHERE approved_at IS NOT NULL);

CREATE TABLE plan (
  id TEXT PRIMARY KEY,
  created_at INTEGER NOT NULL,
  mapping TEXT NOT NULL,
  head INTEGER NOT NULL,             -- ledger position it was made at
  last_operation INTEGER NOT NULL,
  counts TEXT NOT NULL,
  approved_at INTEGER,
  approved_by TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE hold (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL,
  object INTEGER,
  class TEXT NOT NULL,               -- first_plan | mapping | removals | creations | blanking | empty_source | reopening |
                                     -- vanished | resync | burst | existing_keys
  reason TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  closed_at INTEGER,
  verdict TEXT,                      -- approved | rejected | resolved | retracted
  freed INTEGER NOT NULL DEFAULT 1   -- 0 = approved, and what it held is being queued
) STRICT;
CREATE UNIQUE INDEX hold_open ON hold (connection, object, class) WHERE closed_at IS NULL;

-- Opt-outs that no person made and that came together: those of one source between two ledger positions. The hold is theirs.
CREATE TABLE burst (
  hold INTEGER NOT NULL REFERENCES hold,
  connection INTEGER NOT NULL,
  source TEXT NOT NULL,
  after INTEGER NOT NULL,
  upto INTEGER NOT NULL,
  PRIMARY KEY (hold, source, after)
) STRICT, WITHOUT ROWID;

-- Rows that an operator wants neither added (upsert) nor removed, until the wish itself changes.
CREATE TABLE rejection (
  object INTEGER NOT NULL,
  person INTEGER NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (object, person, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
  id INTEGER PRIMARY KEY,
  connection INTEGER NOT NULL,
  object TEXT NOT NULL,
  key TEXT NOT NULL,
  reason TEXT NOT NULL,
  remedy TEXT NOT NULL,
  consent INTEGER NOT NULL DEFAULT 0,  -- carries an opt-out: never dropped
  opened_at INTEGER NOT NULL,
  closed_at INTEGER,
  UNIQUE (connection, object, key, reason)
) STRICT;
CREATE INDEX quarantine_open ON quarantine (connection, object) WHERE closed_at IS NULL;

-- A CRM user turned a flag towards mail: re-asserted once, then a person has to look.
CREATE TABLE request (
  record INTEGER NOT NULL,
  field TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  reasserted INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (record, field)
) STRICT, WITHOUT ROWID;

-- The consent fields the ledger knows, and as what.
CREATE TABLE flag (
  stream INTEGER NOT NULL REFERENCES stream,
  field TEXT NOT NULL,
  meaning TEXT NOT NULL,             -- JSON: [topic, type, [values and what they mean]]
  unknown INTEGER NOT NULL,          -- 1 = mapped after the link: its values are still to become the baseline
  evidence TEXT NOT NULL,            -- JSON: by what rule its opt-ins were heard: fields of date and method, what a person's is
  PRIMARY KEY (stream, field, meaning)
) STRICT, WITHOUT ROWID;

-- Records whose flag we turned towards mail without an answer at once: read again, because a refusal that came meanwhile
-- looks like the one that stood before.
CREATE TABLE reread (
  record INTEGER PRIMARY KEY,
  since INTEGER NOT NULL             -- µs: when our write was sealed; what is found was said after it
) STRICT;

-- A flag that was set because of what the person told the provider: not undone, and no statement of its own.
CREATE TABLE echo (
  record INTEGER NOT NULL,
  field TEXT NOT NULL,
  at INTEGER NOT NULL,               -- µs: when the field was set
  seen_at INTEGER NOT NULL,
  traced INTEGER NOT NULL DEFAULT 0, -- 1 = what it echoes is known
  PRIMARY KEY (record, field)
) STRICT, WITHOUT ROWID;
CREATE INDEX echo_untraced ON echo (seen_at) WHERE traced = 0;

-- `forget`: whose data goes, until everything has gone everywhere; then only the receipt stays.
CREATE TABLE erasure (
  id INTEGER PRIMARY KEY,
  asked_at INTEGER NOT NULL,
  hash BLOB NOT NULL,                -- of the address that was given
  head INTEGER NOT NULL,             -- ledger position up to which statements go
  hashes TEXT,                       -- JSON: keyed hashes, hexadecimal, of all addresses that go; NULL once done
  records TEXT,                      -- JSON: [[stream, id], …]; NULL once done
  done_at INTEGER,
  receipt TEXT NOT NULL DEFAULT '{}' -- JSON: what was erased where
) STRICT;
CREATE TABLE erasure_key (
  erasure INTEGER NOT NULL REFERENCES erasure,
  connection INTEGER NOT NULL,
  key TEXT NOT NULL,                 -- subscriber key; the row goes when the provider is done with it
  request_id TEXT,                   -- the provider's job, once it accepted one
  error TEXT,                        -- why the provider refused, a code
  PRIMARY KEY (erasure, connection, key)
) STRICT, WITHOUT ROWID;
