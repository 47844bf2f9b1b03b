-- Refresh tokens, by hash: per grant one that is unused and, for a while, those that were used before it. Times in
-- seconds since the epoch.
CREATE TABLE refresh_tokens (
  hash TEXT PRIMARY KEY,
  family TEXT NOT NULL,
  -- No reference to grants: each grant that is forgotten would be looked for in all tokens, and a token without one is none.
  grant_id TEXT NOT NULL,
  generation BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT,
  request_digest TEXT,
  successor TEXT
);
-- Whatever the code does: a grant never has two refresh tokens that both could be used.
CREATE UNIQUE INDEX refresh_tokens_unused ON refresh_tokens (grant_id) WHERE used_at IS NULL;
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);
