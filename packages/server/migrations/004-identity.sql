-- People, as identity providers prove them. Times in milliseconds since the epoch unless a name says otherwise.
CREATE TABLE users (
  id TEXT PRIMARY KEY,
  provider TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  name TEXT,
  email TEXT,
  -- Whether their own sign-in said that the address is theirs.
  email_verified INTEGER NOT NULL DEFAULT 0,
  groups TEXT NOT NULL,
  roles TEXT,
  -- When the provider said that these are the groups and roles: what it said before is not news.
  groups_at BIGINT NOT NULL DEFAULT 0,
  disabled INTEGER NOT NULL,
  -- The identity provider's tokens, sealed, of the newest sign-in.
  tokens TEXT,
  -- Until when one node alone may redeem the refresh token among them: a rotated one is good once.
  tokens_leased_until BIGINT NOT NULL DEFAULT 0,
  -- The session that this sign-in began.
  sign_in TEXT,
  checked_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  UNIQUE (provider, issuer, subject)
);

-- Browser sessions, by the hash of their cookie.
CREATE TABLE sessions (
  hash TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  user_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  auth_time BIGINT,
  acr TEXT,
  amr TEXT,
  claims TEXT,
  sid TEXT,
  last_used_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- A sign-in on its way to the identity provider and back; bound to one browser and one provider.
CREATE TABLE logins (
  state_hash TEXT PRIMARY KEY,
  flow_hash TEXT NOT NULL,
  provider TEXT NOT NULL,
  secrets TEXT NOT NULL,
  options TEXT NOT NULL,
  return_to TEXT NOT NULL,
  start_again_at TEXT NOT NULL,
  reference TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
