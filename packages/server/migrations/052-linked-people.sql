-- Whom a subject of somebody trusted was found to be, by an address, where an administrator said so: found once, so that an
-- address that changes hands takes nobody along. Milliseconds since the epoch.
CREATE TABLE linked_people (
  issuer TEXT NOT NULL,
  tenant TEXT NOT NULL,
  subject TEXT NOT NULL,
  user_id TEXT NOT NULL,
  linked_at BIGINT NOT NULL,
  PRIMARY KEY (issuer, tenant, subject)
);
