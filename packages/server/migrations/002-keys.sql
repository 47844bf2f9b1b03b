-- Signing keys of each kind: of access tokens, of assertions for authorization servers elsewhere, and those by which this gateway
-- proves itself to Entra ID. The private half is sealed. Times in milliseconds since the epoch.
CREATE TABLE signing_keys (
  kid TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  state TEXT NOT NULL,
  public_jwk TEXT NOT NULL,
  private_jwk TEXT NOT NULL,
  since BIGINT NOT NULL
);
CREATE TABLE signing_key_setup (kind TEXT PRIMARY KEY);
-- Whatever the code does: one key of a kind signs, and one comes next.
CREATE UNIQUE INDEX signing_keys_current ON signing_keys (kind, state) WHERE state IN ('active', 'next');
