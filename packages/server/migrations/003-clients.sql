-- Dynamically registered clients. Secrets by hash; times in milliseconds since the epoch.
CREATE TABLE clients (
  id TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  -- Which application it is a registration of: of unverified ones, each of itself.
  application TEXT NOT NULL,
  metadata TEXT NOT NULL,
  secret_hash TEXT,
  registration_token_hash TEXT NOT NULL,
  address TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  last_used_at BIGINT
);
CREATE INDEX clients_fingerprint ON clients (fingerprint, created_at);
CREATE INDEX clients_application ON clients (application);

-- Client assertions that were used: each once, on all nodes.
CREATE TABLE client_assertions (
  client_id TEXT NOT NULL,
  jti_hash TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (client_id, jti_hash)
);

-- Registrations of one application from one address wait for each other here, so that their limit holds on all nodes.
CREATE TABLE registration_turns (key TEXT PRIMARY KEY, at BIGINT NOT NULL);
