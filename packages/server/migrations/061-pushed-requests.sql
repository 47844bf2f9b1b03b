-- Authorization requests that clients pushed (RFC 9126), by the hash of their request_uri. Milliseconds since the epoch.
CREATE TABLE pushed_requests (
  hash TEXT PRIMARY KEY,
  client_id TEXT NOT NULL,
  params TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX pushed_requests_expiry ON pushed_requests (expires_at);
