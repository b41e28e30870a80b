-- Hosts that others have taken the place of, latest first: people's ssh is told that their certificates are none.
CREATE INDEX hosts_retired ON hosts (retired_at) WHERE retired_at IS NOT NULL;
