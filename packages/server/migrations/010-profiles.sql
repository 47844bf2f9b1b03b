-- Profiles that people make for themselves (`owner`), and that administrators publish to groups. Lists are JSON; times in
-- milliseconds since the epoch.
CREATE TABLE profiles (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  owner TEXT,
  groups TEXT,
  upstreams TEXT NOT NULL,
  tools TEXT,
  -- Rises with each change: writers compare and swap.
  version BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX profiles_owner ON profiles (owner);
