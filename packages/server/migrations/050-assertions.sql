-- Assertions of others that were used, by the hash of issuer and jti: each once, on all nodes. Seconds since the epoch.
CREATE TABLE used_assertions (
  hash TEXT PRIMARY KEY,
  expires_at BIGINT NOT NULL
);
CREATE INDEX used_assertions_expiry ON used_assertions (expires_at);
