-- The keys by which this gateway proves itself to Entra ID, which takes RS256 alone. As signing_keys.
CREATE TABLE federation_keys (
  kid TEXT PRIMARY KEY,
  algorithm TEXT NOT NULL,
  state TEXT NOT NULL,
  public_jwk TEXT NOT NULL,
  private_jwk TEXT NOT NULL,
  since BIGINT NOT NULL
);
CREATE TABLE federation_key_setup (id INTEGER PRIMARY KEY);
CREATE UNIQUE INDEX federation_keys_current ON federation_keys (state) WHERE state IN ('active', 'next');
