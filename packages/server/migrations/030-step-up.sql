-- What a client was told to come back with: once for each person, client and resource. Times in milliseconds since the epoch.
CREATE TABLE step_ups (
  user_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  resource TEXT NOT NULL,
  -- The grant whose token did not suffice.
  grant_id TEXT NOT NULL,
  -- What the next sign-in must be like, as JSON.
  requirement TEXT NOT NULL,
  scope TEXT NOT NULL,
  asked_at BIGINT NOT NULL,
  -- When a refresh was refused for it.
  refused_at BIGINT,
  -- When the identity provider could not give it.
  unmet_at BIGINT,
  PRIMARY KEY (user_id, client_id, resource)
);
CREATE INDEX step_ups_grant ON step_ups (grant_id);
