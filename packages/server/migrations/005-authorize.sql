-- A grant: what one person approved for one client at one resource. All its codes and tokens end with it.
CREATE TABLE grants (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  resource TEXT NOT NULL,
  scope TEXT NOT NULL,
  auth_time BIGINT,
  acr TEXT,
  amr TEXT,
  claims TEXT,
  -- The session that the person approved in, or last proved more in.
  session_id TEXT,
  -- What the profile reached when the person approved.
  reach TEXT,
  -- When it ends whatever happens; the grants that it came of, and ends with; who acts for the person; the DPoP key.
  expires_at BIGINT,
  parents TEXT,
  actor TEXT,
  jkt TEXT,
  created_at BIGINT NOT NULL,
  last_used_at BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE INDEX grants_user ON grants (user_id);
CREATE INDEX grants_client ON grants (client_id);
CREATE INDEX grants_session ON grants (session_id);

-- Authorization codes, by hash; times of grants and codes in seconds since the epoch, as tokens have them.
CREATE TABLE codes (
  hash TEXT PRIMARY KEY,
  grant_id TEXT NOT NULL REFERENCES grants (id),
  redirect_uri TEXT NOT NULL,
  code_challenge TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  consumed_at BIGINT
);

-- An authorization request on its way through sign-in, consent and connections; bound to one browser.
-- Times of requests and consents in milliseconds since the epoch.
CREATE TABLE authorization_requests (
  id TEXT PRIMARY KEY,
  flow_hash TEXT NOT NULL,
  client_id TEXT NOT NULL,
  request TEXT NOT NULL,
  reference TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  progress TEXT NOT NULL
);

-- What a person approved before: consulted before asking again.
CREATE TABLE consents (
  user_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  redirect_host TEXT NOT NULL,
  resource TEXT NOT NULL,
  scope TEXT NOT NULL,
  client_digest TEXT NOT NULL,
  -- What the profile reached when it was approved.
  reach TEXT NOT NULL,
  granted_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, client_id, redirect_host, resource)
);
CREATE INDEX authorization_requests_flow ON authorization_requests (flow_hash, created_at);
CREATE INDEX codes_grant ON codes (grant_id);
