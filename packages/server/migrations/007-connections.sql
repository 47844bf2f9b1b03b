-- Users' connections to upstreams; credentials sealed. Times in milliseconds since the epoch.
CREATE TABLE connections (
  user_id TEXT NOT NULL,
  upstream TEXT NOT NULL,
  -- Starts at the time of connecting and rises with each stored credential: writers compare and swap, and no version
  -- of an ended connection comes back with the next one.
  version BIGINT NOT NULL,
  credential TEXT NOT NULL,
  state TEXT NOT NULL,
  -- Who refreshes now, and until when nobody else may.
  lease TEXT,
  lease_until BIGINT,
  connected_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, upstream)
);

-- A connection being made: bound to one session, one user, one upstream and one authorization server.
CREATE TABLE connection_attempts (
  state_hash TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  upstream TEXT NOT NULL,
  session_id TEXT NOT NULL,
  secrets TEXT NOT NULL,
  return_to TEXT NOT NULL,
  reference TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);

-- What Lanyard registered itself as at an upstream's authorization server, by its issuer.
CREATE TABLE upstream_clients (
  issuer TEXT NOT NULL,
  upstream TEXT NOT NULL,
  registration TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (issuer, upstream)
);

-- Upstream tokens that must still be revoked at their authorization server.
CREATE TABLE pending_revocations (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  upstream TEXT NOT NULL,
  credential TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  not_before BIGINT NOT NULL
);
