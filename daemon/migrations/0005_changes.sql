-- What waits before it counts: a factor in the place of another, a key that a person did not have.
CREATE TABLE changes (
    id        TEXT PRIMARY KEY NOT NULL,
    person    TEXT NOT NULL,
    what      TEXT NOT NULL,
    begun_at  BIGINT NOT NULL,
    begun_by  TEXT NOT NULL,
    counts_at BIGINT,
    sealed    TEXT,
    step      BIGINT,
    over_at   BIGINT
);
CREATE INDEX changes_waiting ON changes (over_at, counts_at);
-- Keys that counted. One that went from the policy and comes back is a new one.
CREATE TABLE known_keys (
    person      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    since       BIGINT NOT NULL,
    gone_at     BIGINT,
    PRIMARY KEY (person, fingerprint)
);
ALTER TABLE factors ADD COLUMN gone_at BIGINT;
ALTER TABLE invitations ADD COLUMN made_by TEXT;
