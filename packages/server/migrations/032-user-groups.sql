-- The groups that people had, for whoever asks what was decided about their calls. Milliseconds since the epoch; JSON.
CREATE TABLE user_groups (
  user_id TEXT NOT NULL,
  -- From then on, until the next row of the person.
  since BIGINT NOT NULL,
  groups TEXT NOT NULL,
  PRIMARY KEY (user_id, since)
);
