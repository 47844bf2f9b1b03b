-- Applications that a person let act for them, or asked for; what administrators decided about them, and what waits.
-- Times in milliseconds since the epoch.
CREATE TABLE applications (
  id TEXT PRIMARY KEY,
  -- One of its clients.
  client_id TEXT NOT NULL,
  name TEXT NOT NULL,
  verified INTEGER NOT NULL,
  voucher TEXT,
  -- What it looks like now.
  digest TEXT NOT NULL,
  -- What an administrator wants it to look like.
  pin TEXT,
  first_seen_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL
);

CREATE TABLE application_decisions (
  application TEXT NOT NULL,
  upstream TEXT NOT NULL,
  access TEXT NOT NULL,
  effect TEXT NOT NULL,
  digest TEXT NOT NULL,
  groups TEXT,
  reason TEXT,
  decided_by TEXT NOT NULL,
  decided_at BIGINT NOT NULL,
  PRIMARY KEY (application, upstream, access)
);

-- Tools that a rule lets one person call from one application with an administrator's approval.
CREATE TABLE call_decisions (
  user_id TEXT NOT NULL,
  application TEXT NOT NULL,
  upstream TEXT NOT NULL,
  tool TEXT NOT NULL,
  effect TEXT NOT NULL,
  reason TEXT,
  decided_by TEXT NOT NULL,
  decided_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, application, upstream, tool)
);

CREATE TABLE approval_requests (
  id TEXT PRIMARY KEY,
  -- Equal for requests that one decision answers.
  key TEXT NOT NULL,
  kind TEXT NOT NULL,
  application TEXT NOT NULL,
  digest TEXT NOT NULL,
  user_id TEXT NOT NULL,
  -- What was asked for, as it was then: an administrator decides about what they read.
  request TEXT NOT NULL,
  state TEXT NOT NULL,
  reference TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  decision TEXT,
  decided_by TEXT,
  decided_at BIGINT
);
-- Whatever the code does: what is asked for waits once.
CREATE UNIQUE INDEX approval_requests_pending ON approval_requests (key) WHERE state = 'pending';
CREATE INDEX approval_requests_state ON approval_requests (state, created_at);
CREATE INDEX approval_requests_user ON approval_requests (user_id, state);
CREATE INDEX approval_requests_key ON approval_requests (key, decided_at);
