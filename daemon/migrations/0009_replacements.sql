-- An invitation that is to take the place of a host waits for a second administrator, or a day (threat H03).
ALTER TABLE host_tokens ADD COLUMN made_by TEXT;
ALTER TABLE host_tokens ADD COLUMN waits_since BIGINT;
ALTER TABLE host_tokens ADD COLUMN counts_at BIGINT;
ALTER TABLE host_tokens ADD COLUMN confirmed_at BIGINT;
ALTER TABLE host_tokens ADD COLUMN valid_for BIGINT;
-- Who made those of before is not known; none of them lasts longer than an hour.
DELETE FROM host_tokens;
