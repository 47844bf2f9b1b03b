-- Definitions of tools, as upstreams showed them. Times in milliseconds since the epoch.
-- That a tool was seen: whoever adds its row pins what they saw, all others have to ask what it is.
CREATE TABLE pinned_tools (
  upstream TEXT NOT NULL,
  tool TEXT NOT NULL,
  seen_at BIGINT NOT NULL,
  PRIMARY KEY (upstream, tool)
);

-- Every definition of every tool that may be shown, or that somebody must look at.
CREATE TABLE tool_definitions (
  upstream TEXT NOT NULL,
  hash TEXT NOT NULL,
  tool TEXT NOT NULL,
  -- approved, pending or refused
  state TEXT NOT NULL,
  -- Why it is refused, or what differs from the one that was approved last.
  reason TEXT,
  definition TEXT NOT NULL,
  seen_at BIGINT NOT NULL,
  decided_at BIGINT,
  decided_by TEXT,
  PRIMARY KEY (upstream, hash)
);
CREATE INDEX tool_definitions_tool ON tool_definitions (upstream, tool, state);
