-- A host that may have documents of the time before a restore that root has accepted: they are no news.
ALTER TABLE hosts ADD COLUMN excused BIGINT;
