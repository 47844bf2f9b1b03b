-- Rules that administrators keep, besides those of the configuration. The definition is JSON; times in milliseconds since
-- the epoch.
CREATE TABLE rules (
  id TEXT PRIMARY KEY,
  definition TEXT NOT NULL,
  -- Rises with each change: writers compare and swap.
  version BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
