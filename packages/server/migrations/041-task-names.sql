-- What clients of 2025 call the tasks that they began, to tell them of again; milliseconds since the epoch.
CREATE TABLE task_names (
  -- The hash of person, application, profile and upstream.
  owner TEXT NOT NULL,
  -- The hash of the upstream's own name.
  own TEXT NOT NULL,
  -- The client's, which is sealed.
  name TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (owner, own)
);
CREATE INDEX task_names_expiry ON task_names (expires_at);
