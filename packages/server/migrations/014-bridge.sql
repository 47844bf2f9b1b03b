-- Where clients of one protocol generation meet upstreams of the other. Times in milliseconds since the epoch.
-- Sessions of 2025 clients with upstreams of 2026-07-28, which have none.
CREATE TABLE bridge_sessions (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  upstream TEXT NOT NULL,
  -- What was said at the beginning, as JSON.
  opening TEXT NOT NULL,
  level TEXT,
  expires_at BIGINT NOT NULL
);
CREATE INDEX bridge_sessions_user ON bridge_sessions (user_id, expires_at);
CREATE INDEX bridge_sessions_expiry ON bridge_sessions (expires_at);

CREATE TABLE bridge_subscriptions (
  session TEXT NOT NULL,
  uri TEXT NOT NULL,
  PRIMARY KEY (session, uri)
);

-- What a client said to one node for the call that another node holds, sealed.
CREATE TABLE bridge_notes (
  id TEXT PRIMARY KEY,
  address TEXT NOT NULL,
  body TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX bridge_notes_address ON bridge_notes (address);
