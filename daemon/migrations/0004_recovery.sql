-- One salt for a set, so that a code is hashed once and compared with all. A new set takes the place of the old one.
CREATE TABLE recovery_sets (
    person  TEXT PRIMARY KEY NOT NULL,
    salt    TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE recovery_codes (
    person  TEXT NOT NULL,
    hash    TEXT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (person, hash)
);
