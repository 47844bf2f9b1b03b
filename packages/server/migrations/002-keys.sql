-- Signing keys; the private half is sealed. Times in milliseconds since the epoch.
CREATE TABLE signing_keys (
  kid TEXT PRIMARY KEY,
  algorithm TEXT NOT NULL,
  state TEXT NOT NULL,
  public_jwk TEXT NOT NULL,
  private_jwk TEXT NOT NULL,
  since BIGINT NOT NULL
);
CREATE TABLE signing_key_setup (id INTEGER PRIMARY KEY);
-- Whatever the code does: one key signs, and one comes next.
CREATE UNIQUE INDEX signing_keys_current ON signing_keys (state) WHERE state IN ('active', 'next');
