-- Notices to administrators that must still be sent: written with what they tell of, removed when they have arrived.
-- Times in milliseconds since the epoch.
CREATE TABLE notices (
  id TEXT PRIMARY KEY,
  target TEXT NOT NULL,
  body TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  not_before BIGINT NOT NULL
);
CREATE INDEX notices_due ON notices (not_before);
