-- Devices that asked for access (RFC 8628), by the hashes of their codes. Times in milliseconds since the epoch.
CREATE TABLE device_codes (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  user_code_hash TEXT NOT NULL UNIQUE,
  client_id TEXT NOT NULL,
  resource TEXT NOT NULL,
  scope TEXT NOT NULL,
  reference TEXT NOT NULL,
  -- Where the device asked from: the person who approves sees it.
  address TEXT NOT NULL,
  -- waiting, granted, denied or used
  state TEXT NOT NULL,
  grant_id TEXT,
  -- How many seconds the device must leave between two questions, and whether it did the last time.
  poll_seconds BIGINT NOT NULL,
  too_soon BIGINT NOT NULL,
  polled_at BIGINT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX device_codes_expiry ON device_codes (expires_at);
