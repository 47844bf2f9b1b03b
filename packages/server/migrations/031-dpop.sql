-- Proofs of possession that were used, by hash, for as long as they would be accepted; milliseconds since the epoch.
CREATE TABLE dpop_proofs (
  hash TEXT PRIMARY KEY,
  expires_at BIGINT NOT NULL
);
CREATE INDEX dpop_proofs_expiry ON dpop_proofs (expires_at);
