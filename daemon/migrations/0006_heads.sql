-- What a host's log is up to a document: a host that has applied another log is told from one that is behind.
ALTER TABLE documents ADD COLUMN head TEXT;
