-- The keys that signed or sign people's SSH certificates; exactly one has no end. The private halves are elsewhere.
CREATE TABLE user_cas (
    number BIGINT PRIMARY KEY NOT NULL,
    public TEXT UNIQUE NOT NULL,
    place  TEXT NOT NULL,
    since  BIGINT NOT NULL,
    until  BIGINT
);
-- Every certificate, by its serial: the way from what sshd logs to the grant, and what a revocation list is made of.
CREATE TABLE certificates (
    serial       BIGINT PRIMARY KEY NOT NULL,
    ca           BIGINT NOT NULL REFERENCES user_cas (number),
    activation   TEXT NOT NULL REFERENCES activations (id),
    fingerprint  TEXT NOT NULL,
    valid_before BIGINT NOT NULL
);
CREATE INDEX certificates_of_activation ON certificates (activation);
