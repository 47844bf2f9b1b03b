-- Sessions that were opened at an upstream after the client's own had begun, for all nodes; milliseconds since the epoch.
CREATE TABLE late_sessions (
  -- The hash of the client's session and the upstream.
  id TEXT PRIMARY KEY,
  -- The hash of what the upstream calls it.
  mark TEXT NOT NULL,
  -- What the upstream calls it.
  sealed TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX late_sessions_expiry ON late_sessions (expires_at);
