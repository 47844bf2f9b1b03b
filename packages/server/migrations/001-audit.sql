-- What happened, and what the nodes tell one another.
-- sqlite
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at BIGINT NOT NULL,
  action TEXT NOT NULL,
  outcome TEXT NOT NULL,
  subject TEXT,
  client_id TEXT,
  grant_id TEXT,
  reference TEXT,
  event TEXT NOT NULL
);
-- postgres
CREATE TABLE audit (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at BIGINT NOT NULL,
  action TEXT NOT NULL,
  outcome TEXT NOT NULL,
  subject TEXT,
  client_id TEXT,
  grant_id TEXT,
  reference TEXT,
  event TEXT NOT NULL
);
CREATE INDEX audit_reference ON audit (reference) WHERE reference IS NOT NULL;

-- sqlite
CREATE TABLE changes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  at BIGINT NOT NULL,
  recorded_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
-- postgres
CREATE TABLE changes (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  at BIGINT NOT NULL,
  recorded_at BIGINT NOT NULL DEFAULT (CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT))
);
-- By the clock of the database, whatever the nodes' clocks say.
CREATE INDEX changes_recorded ON changes (recorded_at);
