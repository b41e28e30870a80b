-- Locks stay when they are over: an approval counts only if its approver was not locked since.
CREATE TABLE locks (
    id       TEXT PRIMARY KEY NOT NULL,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    begun_by TEXT NOT NULL,
    ends_at  BIGINT,
    reason   TEXT NOT NULL,
    over_at  BIGINT
);
CREATE INDEX locks_in_force ON locks (over_at, ends_at);
CREATE INDEX locks_by_name ON locks (kind, name);
