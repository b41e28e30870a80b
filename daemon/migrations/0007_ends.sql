-- When a host has to have told of an end. NULL: nothing is awaited of it; the largest number: it is away, and is asked of its next hello.
ALTER TABLE activation_hosts ADD COLUMN end_due BIGINT;
ALTER TABLE activation_hosts ADD COLUMN end_told BIGINT;
CREATE INDEX ends_awaited ON activation_hosts (end_due) WHERE end_due IS NOT NULL;
CREATE INDEX ends_awaited_of_host ON activation_hosts (host, end_due) WHERE end_due IS NOT NULL;
