-- The keys that sign assertions for authorization servers elsewhere: never those of access tokens. As signing_keys.
CREATE TABLE assertion_keys (
  kid TEXT PRIMARY KEY,
  algorithm TEXT NOT NULL,
  state TEXT NOT NULL,
  public_jwk TEXT NOT NULL,
  private_jwk TEXT NOT NULL,
  since BIGINT NOT NULL
);
CREATE TABLE assertion_key_setup (id INTEGER PRIMARY KEY);
CREATE UNIQUE INDEX assertion_keys_current ON assertion_keys (state) WHERE state IN ('active', 'next');
