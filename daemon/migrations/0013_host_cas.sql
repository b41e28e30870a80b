-- The keys that signed or sign hosts' SSH certificates; exactly one has no end. The private halves are elsewhere.
CREATE TABLE host_cas (
    number  BIGINT PRIMARY KEY NOT NULL,
    public  TEXT UNIQUE NOT NULL,
    place   TEXT NOT NULL,
    since   BIGINT NOT NULL,
    until   BIGINT,
    over_at BIGINT
);
-- Certificates of hosts by their serial, as long as they are valid.
CREATE TABLE host_certificates (
    serial       BIGINT PRIMARY KEY NOT NULL,
    ca           BIGINT NOT NULL REFERENCES host_cas (number),
    host         TEXT NOT NULL REFERENCES hosts (id),
    fingerprint  TEXT NOT NULL,
    valid_before BIGINT NOT NULL
);
CREATE INDEX host_certificates_of_host ON host_certificates (host);
-- Names that an administrator gave beside the host's own.
ALTER TABLE hosts ADD COLUMN names TEXT NOT NULL DEFAULT '[]';
ALTER TABLE host_tokens ADD COLUMN names TEXT NOT NULL DEFAULT '[]';
